// Conformance on a real etcd.
import { afterAll, beforeAll } from "vitest";
import { etcdHome } from "../../support/bbs.js";
import { type EtcdCluster, startEtcd } from "../../support/etcd.js";
import { describeConformance } from "./conformance.js";

let etcd: EtcdCluster;
beforeAll(async () => {
  etcd = await startEtcd();
});
afterAll(() => etcd[Symbol.asyncDispose]());

describeConformance("etcd", () => etcdHome(etcd), ["grpc"]);
