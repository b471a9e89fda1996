// Members of etcd that go away under a BBS: one of three, the one that leads, the majority, and the network between.
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type BbsClients, type BbsProcess, clientsOf, etcdHome, type StoreHome, spawnBbs } from "../../support/bbs.js";
import { type EtcdCluster, startEtcd } from "../../support/etcd.js";
import { startProxy } from "../../support/tcp-proxy.js";
import { withEtcd } from "../store/raw-etcd.js";
import { Caller } from "./caller.js";

/** The journal's bound on silence, and a busy machine's lateness. */
const failFastMs = 1_000 + 1_500;

/** The number of the member that leads etcd. */
async function leaderOf(etcd: EtcdCluster): Promise<number> {
  const statuses = await Promise.all(
    etcd.endpoints.map((endpoint) => withEtcd([endpoint], (client) => client.maintenance.status())),
  );
  return statuses.findIndex((status) => status.leader === status.header.member_id);
}

const failuresOf = (caller: Caller, sinceMs: number): string[] =>
  caller
    .since(sinceMs)
    .map(({ outcome }) => outcome)
    .filter((outcome) => outcome !== "ok");

describe("three members", () => {
  let etcd: EtcdCluster;
  let home: StoreHome;
  let inUse: readonly [number, number];
  let bbs: BbsProcess;
  let operator: BbsClients;
  beforeEach(async () => {
    etcd = await startEtcd({ members: 3 });
    const leader = await leaderOf(etcd);
    // The BBS talks to the first that answers: to those first that do not lead.
    inUse = [(leader + 1) % 3, (leader + 2) % 3];
    const endpoints = [...inUse, leader].map((member) => etcd.endpoints[member]);
    const plain = await etcdHome(etcd);
    home = { ...plain, settings: { ...plain.settings, endpoints } };
    bbs = await spawnBbs(home, { leadershipTtlMs: 10_000 });
    await bbs.until("active");
    operator = await clientsOf([bbs.address], "operator");
  });
  afterEach(async () => {
    operator?.[Symbol.dispose]();
    await bbs?.[Symbol.asyncDispose]();
    await etcd[Symbol.asyncDispose]();
  });

  it("the one in use killed, then the next one in use frozen: callers hardly notice", async () => {
    await using caller = new Caller(operator);
    await caller.goesOn();
    const killedMs = performance.now();
    await etcd.kill9(inUse[0]);
    await caller.goesOn();
    expect(failuresOf(caller, killedMs)).toEqual([]);
    await etcd.start(inUse[0]);
    const frozenMs = performance.now();
    etcd.freeze(inUse[1]);
    await caller.goesOn();
    etcd.thaw(inUse[1]);
    await etcd.ready(inUse[1]);
    await caller.stop();
    // It is left after 800 ms, before the second after which callers hear of it; on a busy machine a few do.
    expect(failuresOf(caller, frozenMs).length).toBeLessThan(12);
    expect(await caller.missing()).toEqual([]);
  });

  it("the one that leads etcd killed, then its successor frozen: the same BBS goes on after etcd's election", async () => {
    await using caller = new Caller(operator);
    await caller.goesOn();
    for (const harm of ["kill9", "freeze"] as const) {
      const leader = await leaderOf(etcd);
      await etcd[harm](leader);
      await caller.goesOn();
      if (harm === "kill9") await etcd.start(leader);
      else etcd.thaw(leader);
      await etcd.ready(leader);
    }
    await caller.stop();
    expect(await caller.missing()).toEqual([]);
    expect(Math.max(...caller.heard.map(({ tookMs }) => tookMs))).toBeLessThan(failFastMs);
    expect(await bbs.metric("bbs_elections_total")).toBe(1);
  });

  it("the majority killed: calls fail fast, and go on by themselves when it is back", async () => {
    await using caller = new Caller(operator);
    await caller.goesOn();
    const lostMs = performance.now();
    await Promise.all([etcd.kill9(1), etcd.kill9(2)]);
    await expect.poll(() => failuresOf(caller, lostMs).length, { timeout: 10_000 }).toBeGreaterThan(20);
    const meanwhile = caller.since(lostMs).filter(({ outcome }) => outcome !== "ok");
    // Whether a call was under way at that very moment is chance.
    for (const { outcome } of meanwhile) expect(["OutcomeUnknown", "Unavailable"]).toContain(outcome);
    expect(meanwhile.map(({ outcome }) => outcome)).toContain("Unavailable");
    expect(Math.max(...meanwhile.map(({ tookMs }) => tookMs))).toBeLessThan(failFastMs);
    // The others need each other to become ready.
    await Promise.all([etcd.launch(1), etcd.launch(2)]);
    await Promise.all([etcd.ready(1), etcd.ready(2)]);
    await caller.goesOn();
    await caller.stop();
    expect(await caller.missing()).toEqual([]);
    expect(await bbs.metric("bbs_elections_total")).toBe(1);
  });
});

it("the majority frozen past the TTL: the active BBS ends as one that lost, and the standby serves when it is back", async () => {
  await using etcd = await startEtcd({ members: 3 });
  const home = await etcdHome(etcd);
  await using first = await spawnBbs(home, { leadershipTtlMs: 2_000 });
  await first.until("active");
  await using standby = await spawnBbs(home, { leadershipTtlMs: 2_000 });
  await standby.until("standby");
  using operator = await clientsOf([first.address, standby.address], "operator");
  await using caller = new Caller(operator);
  await caller.goesOn();
  etcd.freeze(1);
  etcd.freeze(2);
  expect(await first.exited).toBe(75);
  expect(await standby.state()).toBe("standby");
  etcd.thaw(1);
  etcd.thaw(2);
  await standby.until("active", 30_000);
  await caller.goesOn();
  await caller.stop();
  expect(await caller.missing()).toEqual([]);
});

it("the active BBS cut off from etcd: a standby that is not takes over, and the one cut off says nothing and ends", async () => {
  await using etcd = await startEtcd();
  const home = await etcdHome(etcd);
  await using proxy = await startProxy(etcd.endpoints[0] ?? "");
  const behindProxy = { ...home, settings: { ...home.settings, endpoints: [`http://127.0.0.1:${proxy.port}`] } };
  await using first = await spawnBbs(behindProxy, { leadershipTtlMs: 2_000 });
  await first.until("active");
  await using standby = await spawnBbs(home, { leadershipTtlMs: 2_000 });
  await standby.until("standby");
  using operator = await clientsOf([first.address, standby.address], "operator");
  using loyal = await clientsOf([first.address], "operator");
  await using caller = new Caller(operator);
  await using stubborn = new Caller(loyal, 1);
  await caller.goesOn();
  proxy.hold({ newOnes: true });
  const cutMs = performance.now();
  await standby.until("active", 30_000);
  expect(await first.exited).toBe(75);
  await caller.goesOn();
  await Promise.all([caller.stop(), stubborn.stop()]);
  expect(await caller.missing()).toEqual([]);
  // What was under way when the cut came may have been done before it.
  expect(stubborn.since(cutMs + 50).filter(({ outcome }) => outcome === "ok")).toEqual([]);
});
