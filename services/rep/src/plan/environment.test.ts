// The environment of a process, layer over layer.
import { asDomainName, asInstanceGuid, asProcessGuid } from "@muster/shared/model";
import { describe, expect, it } from "vitest";
import { netInfo } from "../testing/records.js";
import { containerEnvironment, mergeEnvironment, processEnvironment } from "./environment.js";

const key = { processGuid: asProcessGuid("p"), index: 2, domain: asDomainName("apps") };

describe("the environment", () => {
  it("of the container names the instance, and the DesiredLRP may say otherwise", () => {
    const env = containerEnvironment(key, asInstanceGuid("guid"), [
      { name: "A", value: "1" },
      { name: "INSTANCE_INDEX", value: "mine" },
    ]);
    expect(env).toEqual(["INSTANCE_GUID=guid", "INSTANCE_INDEX=mine", "CF_INSTANCE_GUID=guid", "CF_INSTANCE_INDEX=2", "A=1"]);
  });

  it("of the process ends with where the instance answers, whatever the action says", () => {
    const net = { ...netInfo(), ports: [...netInfo().ports, { ...netInfo(61_002).ports[0], containerPort: 9090 } as never] };
    expect(processEnvironment([{ name: "CF_INSTANCE_IP", value: "lie" }], net)).toEqual([
      "CF_INSTANCE_IP=127.0.0.1",
      "CF_INSTANCE_INTERNAL_IP=10.0.0.2",
      "CF_INSTANCE_PORT=61001",
      "CF_INSTANCE_ADDR=127.0.0.1:61001",
      'CF_INSTANCE_PORTS=[{"external":61001,"internal":8080},{"external":61002,"internal":9090}]',
    ]);
  });

  it("of a process without ports has them empty", () => {
    const env = processEnvironment([], { ...netInfo(), ports: [] });
    expect(env).toContain("CF_INSTANCE_PORT=");
    expect(env).toContain("CF_INSTANCE_ADDR=");
    expect(env).toContain("CF_INSTANCE_PORTS=[]");
  });

  it("names an IPv6 address only when there is one", () => {
    const named = processEnvironment([], { ...netInfo(), instanceIpv6Address: "fd00::1" });
    expect(named).toContain("CF_INSTANCE_INTERNAL_IPV6=fd00::1");
    expect(processEnvironment([], netInfo()).some((line) => line.includes("IPV6"))).toBe(false);
  });

  it("keeps = and newlines in values, and the last of two values", () => {
    expect(
      mergeEnvironment(
        [{ name: "A", value: "x=y\nz" }],
        [
          { name: "B", value: "1" },
          { name: "B", value: "2" },
        ],
      ),
    ).toEqual(["A=x=y\nz", "B=2"]);
  });
});
