// The BBS contract on a real etcd.
import { afterAll, beforeAll } from "vitest";
import { etcdHome } from "../../support/bbs.js";
import { type EtcdCluster, startEtcd } from "../../support/etcd.js";
import { describeBbsContract } from "./contract.js";

let etcd: EtcdCluster;
beforeAll(async () => {
  etcd = await startEtcd();
});
afterAll(() => etcd[Symbol.asyncDispose]());

describeBbsContract("etcd", () => etcdHome(etcd));
