// Finding the platform: client.json, flags, lock values and presences.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { UnreachableError, UsageError } from "../exit.js";
import { isStopped, writeServicesFile } from "../services-file.js";
import { addressIn } from "./peers.js";
import { homeOf, readClientSettings } from "./settings.js";

let home = "";
beforeEach(() => {
  home = mkdtempSync(path.join(tmpdir(), "muster-client-"));
  for (const name of ["ca", "cert", "key"]) writeFileSync(path.join(home, name), name);
});
afterEach(() => rmSync(home, { recursive: true, force: true }));

const clientFile = { bbs_grpc: ["127.0.0.1:1"], bbs_http: [], ca: "ca", cert: "cert", key: "key" };
const write = (content: unknown): void => writeFileSync(path.join(home, "client.json"), JSON.stringify(content));

describe("client.json", () => {
  it("names files relative to its home", () => {
    write(clientFile);
    const settings = readClientSettings({ home });
    expect(settings.bbsAddresses).toEqual(["127.0.0.1:1"]);
    expect(settings.tls.key.toString()).toBe("key");
  });

  it("gives way to flags", () => {
    write(clientFile);
    expect(readClientSettings({ home, bbs: "127.0.0.1:2,127.0.0.1:3" }).bbsAddresses).toEqual(["127.0.0.1:2", "127.0.0.1:3"]);
  });

  it("that is missing or broken means that nothing can be reached", () => {
    expect(() => readClientSettings({ home })).toThrow(UnreachableError);
    write({ bbs_grpc: [] });
    expect(() => readClientSettings({ home })).toThrow(UnreachableError);
  });

  it("is not needed when flags say everything, and they must", () => {
    const file = (name: string): string => path.join(home, name);
    const flags = { home, bbs: "127.0.0.1:2", ca: file("ca"), cert: file("cert"), key: file("key") };
    expect(readClientSettings(flags).bbsAddresses).toEqual(["127.0.0.1:2"]);
    expect(() => readClientSettings({ home, bbs: "127.0.0.1:2" })).toThrow(UsageError);
    expect(() => readClientSettings({ ...flags, bbs: "nonsense" })).toThrow(UsageError);
  });
});

it("the home is the flag's, else the environment's, else .muster here", () => {
  expect(homeOf({ home: "/a" }, { MUSTER_HOME: "/b" })).toBe("/a");
  expect(homeOf({}, { MUSTER_HOME: "/b" })).toBe("/b");
  expect(homeOf({}, {})).toBe(path.resolve(".muster"));
  expect(homeOf({}, { MUSTER_HOME: "" })).toBe(path.resolve(".muster"));
});

it.each([
  ["127.0.0.1:9016", "127.0.0.1:9016"],
  ["https://127.0.0.1:1801", "127.0.0.1:1801"],
  ['{"name":"auctioneer-1","address":"127.0.0.1:9016"}', "127.0.0.1:9016"],
  ['{"name":"converger-1"}', undefined],
  ["{", undefined],
  ["", undefined],
])("the address in %j is %s", (value, address) => {
  expect(addressIn(value)).toBe(address);
});

describe("a home of up", () => {
  const services = (pid: number): void => {
    mkdirSync(path.join(home, "run"), { recursive: true });
    writeServicesFile(path.join(home, "run", "services.json"), { supervisor_pid: pid, services: [] });
  };

  it("is stopped without a supervisor that lives", () => {
    writeFileSync(path.join(home, "muster-home.json"), "{}");
    expect(isStopped(home)).toBe(true);
    services(process.pid);
    expect(isStopped(home)).toBe(false);
    // Beyond the largest process id of Linux.
    services(2 ** 22 + 1);
    expect(isStopped(home)).toBe(true);
  });

  it("is not meant where the folder holds client.json alone", () => {
    expect(isStopped(home)).toBe(false);
  });
});
