// The etcd driver under the contract of all drivers, on a real server.
import { randomUUID } from "node:crypto";
import { systemClock } from "@muster/shared/clock";
import { openEtcdStore } from "@muster/store/etcd";
import { afterAll, beforeAll } from "vitest";
import { type EtcdCluster, startEtcd } from "../../support/etcd.js";
import { describeStoreContract } from "./contract.js";
import { deleteLeader } from "./raw-etcd.js";

let etcd: EtcdCluster;
beforeAll(async () => {
  etcd = await startEtcd();
});
afterAll(() => etcd[Symbol.asyncDispose]());

describeStoreContract("etcd", async () => {
  const prefix = `/contract/${randomUUID()}/`;
  return {
    open: () => openEtcdStore({ endpoints: etcd.endpoints, prefix, clock: systemClock }),
    shared: true,
    ttlMs: 5_000,
    depose: (name) => deleteLeader(etcd.endpoints, prefix, name),
    [Symbol.asyncDispose]: async () => undefined,
  };
});
