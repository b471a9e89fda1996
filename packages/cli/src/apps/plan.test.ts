// From an image to what runs: ports, command, environment, health.
import { describe, expect, it } from "vitest";
import { RefusedError } from "../exit.js";
import {
  checksOf,
  cpuWeightOf,
  environmentFault,
  environmentOf,
  ownEnvironmentOf,
  portsOf,
  startCommandOf,
  userOf,
} from "./plan.js";

describe("ports", () => {
  it.each([
    { exposed: [], ports: [8080] },
    { exposed: [6379], ports: [6379] },
    { exposed: [9090, 80, 8080], ports: [80, 8080, 9090] },
    { exposed: [80, 80], ports: [80] },
  ])("an image that exposes $exposed opens $ports", ({ exposed, ports }) => {
    expect(portsOf({ exposedTcpPorts: exposed })).toEqual(ports);
  });
});

describe("health checks", () => {
  const tcp = (port: number) => ({ tcpCheck: { port, connectTimeoutMs: 0n, intervalMs: 0n }, httpCheck: undefined });

  it("of type port look at the port that PORT names, not at every exposed one", () => {
    expect(checksOf({ type: "port", endpoint: "/" }, [8080, 9090])).toEqual([tcp(8080)]);
  });

  it("of type http ask the endpoint", () => {
    const [check] = checksOf({ type: "http", endpoint: "/up" }, [8080]);
    expect(check?.httpCheck).toMatchObject({ port: 8080, path: "/up" });
    expect(check?.tcpCheck).toBeUndefined();
  });

  it("of type process are none", () => {
    expect(checksOf({ type: "process", endpoint: "/" }, [8080])).toEqual([]);
  });
});

describe("start command", () => {
  const image = { entrypoint: ["/entry", "-v"], cmd: ["serve"] };

  it("is ENTRYPOINT and CMD in exec form", () => {
    expect(startCommandOf(image, undefined)).toEqual({ path: "/entry", args: ["-v", "serve"] });
  });

  it("of the user replaces both and goes through the shell", () => {
    expect(startCommandOf(image, "echo $PORT && sleep 1")).toEqual({ path: "/bin/sh", args: ["-c", "echo $PORT && sleep 1"] });
  });

  it("is refused when neither says one", () => {
    expect(() => startCommandOf({ entrypoint: [], cmd: [] }, undefined)).toThrow(RefusedError);
    expect(() => startCommandOf({ entrypoint: [], cmd: [] }, undefined)).toThrow("No start command found or specified");
  });
});

describe("environment", () => {
  const facts = {
    name: "web",
    appGuid: "a",
    versionGuid: "v",
    ports: [8080, 9090],
    memoryMb: 256,
    diskMb: 1024,
    own: { A: "1", B: "x=y" },
  };
  const built = environmentOf(facts);
  const value = (name: string) => built.find((each) => each.name === name)?.value;

  it("names the first port, the memory and the app", () => {
    expect(value("PORT")).toBe("8080");
    expect(value("MEMORY_LIMIT")).toBe("256m");
    expect(JSON.parse(value("VCAP_APPLICATION") ?? "")).toMatchObject({
      application_name: "web",
      application_id: "a",
      port: 8080,
    });
  });

  it("gives back the user's part alone", () => {
    expect(ownEnvironmentOf(built)).toEqual({ A: "1", B: "x=y" });
  });

  it.each([
    ["PORT", "cannot set PORT"],
    ["port", "cannot set PORT"],
    ["VCAP_SERVICES", "VCAP_"],
    ["vmc_x", "VMC"],
    ["1A", "no name"],
    ["A B", "no name"],
  ])("%s is refused", (name, why) => {
    expect(environmentFault(name)).toContain(why);
  });

  it.each(["PATH", "_x", "VCA", "PORTAL", "a.b"])("%s is allowed", (name) => {
    expect(environmentFault(name)).toBeUndefined();
  });
});

it("an image without USER runs as root", () => {
  expect(userOf({ user: "" })).toBe("root");
  expect(userOf({ user: "1000:1000" })).toBe("1000:1000");
});

it.each([
  [1, 1],
  [256, 3],
  [8192, 100],
  [65536, 100],
])("%i MB weigh %i", (memoryMb, weight) => {
  expect(cpuWeightOf(memoryMb)).toBe(weight);
});
