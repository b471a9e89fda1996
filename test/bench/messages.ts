// What the benches of the BBS send: records as an app of the command line has them.
import { DesiredLRP } from "@muster/proto/models/desired_lrp";

/** A DesiredLRP as an app of the command line has it. */
export const desired = (processGuid: string, instances = 1): DesiredLRP =>
  DesiredLRP.fromPartial({
    processGuid,
    domain: "bench",
    logGuid: processGuid,
    rootFs: "preloaded:busybox",
    instances,
    memoryMb: 256,
    diskMb: 512,
    cpuWeight: 5,
    annotation: JSON.stringify({ name: processGuid, version: 1 }),
    ports: [8080],
    action: {
      runAction: { path: "/bin/server", args: ["--port", "8080"], user: "vcap", env: [{ name: "PORT", value: "8080" }] },
    },
    environmentVariables: [{ name: "VCAP_APPLICATION", value: JSON.stringify({ name: processGuid, limits: { mem: 256 } }) }],
    metricTags: { source_id: { static: processGuid } },
    routes: { routes: { "cf-router": Buffer.from('[{"hostnames":["app.example.com"],"port":8080}]') } },
  } as never);

export const netInfo = {
  address: "10.0.16.4",
  ports: [{ containerPort: 8080, hostPort: 61_001, containerTlsProxyPort: 0, hostTlsProxyPort: 0 }],
  instanceAddress: "10.255.1.2",
  preferredAddress: 2 as const,
  instanceIpv6Address: "",
};

export const guidOf = (kind: string, n: number): string => `${kind}-${String(n).padStart(8, "0")}-4f6e-9a1c-bench`;
export const cellIdOf = (number: number): string => `cell-${number}`;
export const cellOf = (n: number, cells: number): string => cellIdOf(n % cells);
