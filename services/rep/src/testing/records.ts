// Records for tests of the pure parts.
import { type ActualLRPNetInfo, asDomainName, asInstanceGuid, asProcessGuid } from "@muster/shared/model";
import type { ContainerRecord } from "../plan/index.js";

export const netInfo = (hostPort = 61_001): ActualLRPNetInfo => ({
  address: "127.0.0.1",
  ports: [{ containerPort: 8080, hostPort, containerTlsProxyPort: 0, hostTlsProxyPort: 0 }],
  instanceAddress: "10.0.0.2",
  instanceIpv6Address: "",
  preferredAddress: "HOST",
});

export const containerRecord = (guid: string, over: Partial<ContainerRecord> = {}): ContainerRecord => ({
  key: { processGuid: asProcessGuid("p"), index: 0, domain: asDomainName("apps") },
  instanceGuid: asInstanceGuid(guid),
  auctionId: "p/0/e/0",
  rootFs: "docker:///library/app",
  memoryMb: 64,
  diskMb: 128,
  maxPids: 0,
  state: "reserved",
  reservedAtMs: 0,
  stopped: false,
  ending: "crashed",
  failureReason: "",
  netInfo: undefined,
  routable: false,
  startInfo: undefined,
  task: undefined,
  stepsDone: [],
  cacheKeys: [],
  ...over,
});
