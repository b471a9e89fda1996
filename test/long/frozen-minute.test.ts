// A minute of silence at the default times to live: the active BBS is stopped for so long, then etcd. Whoever sleeps through the end of its
// term is fenced when it wakes, says so, and acknowledges nothing; clients lose nothing that was acknowledged.
import { setTimeout as sleep } from "node:timers/promises";
import { unary } from "@muster/shared/rpc";
import { expect, it } from "vitest";
import { desired, outcome } from "../contract/bbs/fixtures.js";
import { Caller } from "../contract/ha/caller.js";
import { type Doors, openLoyalDoors } from "../contract/linearizability/workload.js";
import { type BbsProcess, clientsOf, etcdHome, type StoreHome, spawnBbs } from "../support/bbs.js";
import { startEtcd } from "../support/etcd.js";

const minuteMs = 60_000;
/** The BBS's own defaults. */
const [leadershipTtlMs, presenceTtlMs] = [10_000, 5_000];
/** The TTL, etcd's own lateness, a load; on a machine that may have much else to do. */
const takeoverMs = 40_000;
/** A call is refused after a second of the store's silence, or cut after two of a server's; the rest is the machine's lateness. */
const failFastMs = 6_000;

const spawn = (home: StoreHome, port?: number): Promise<BbsProcess> =>
  spawnBbs(home, { leadershipTtlMs, presenceTtlMs, ...(port === undefined ? {} : { port }) });

const linesOf = (bbs: BbsProcess): { msg: string; err?: { message: string } }[] =>
  bbs
    .log()
    .split("\n")
    .filter((line) => line.startsWith("{"))
    .map((line) => JSON.parse(line) as { msg: string; err?: { message: string } });

/** Asks for one LRP again and again; the connection is made anew where it was cut. */
async function readOn({ operator }: Doors, processGuid: string, stop: AbortSignal): Promise<string[]> {
  const heard: string[] = [];
  for (; !stop.aborted; await sleep(20)) {
    const asked = unary(operator.desiredLrpByProcessGuid.bind(operator), { processGuid }, { deadlineMs: 2_000 });
    heard.push(await outcome(asked));
  }
  return heard;
}

it("the active BBS frozen for a minute: the standby serves, and the one that wakes says nothing but that its term is over", async () => {
  await using etcd = await startEtcd();
  const home = await etcdHome(etcd);
  await using first = await spawn(home);
  await first.until("active");
  await using standby = await spawn(home);
  await standby.until("standby");
  using operator = await clientsOf([first.address, standby.address], "operator");
  using loyal = await openLoyalDoors(first.address);
  const { operator: toFirst } = loyal;
  using stubborn = await openLoyalDoors(first.address);
  const bounds = { deadlineMs: 2 * minuteMs };
  // Connected before the freeze: what is asked meanwhile waits in the socket of the sleeper.
  await unary(toFirst.ping.bind(toFirst), {}, bounds);
  await using caller = new Caller(operator);
  await caller.goesOn(50, takeoverMs);

  first.kill("SIGSTOP");
  const frozenMs = performance.now();
  const asked = Array.from({ length: 20 }, (_, n) => `asked-of-the-sleeper-${n}`);
  const answers = asked.flatMap((guid) => [
    outcome(unary(toFirst.desireDesiredLrp.bind(toFirst), { desiredLrp: desired(guid) }, bounds)),
    outcome(unary(toFirst.desiredLrpByProcessGuid.bind(toFirst), { processGuid: caller.acknowledged[0] ?? "" }, bounds)),
  ]);
  const wholeTime = new AbortController();
  const reads = readOn(stubborn, caller.acknowledged[0] ?? "", wholeTime.signal);
  await standby.until("active", takeoverMs);
  const tookOverMs = performance.now() - frozenMs;
  await caller.goesOn(50, takeoverMs);
  await sleep(Math.max(0, frozenMs + minuteMs - performance.now()));
  first.kill("SIGCONT");
  const wokenMs = performance.now();

  expect(await first.exited).toBe(75);
  wholeTime.abort();
  // Neither what waited in its socket nor what reached it anew when it woke was answered.
  expect([...(await Promise.all(answers)), ...(await reads)].filter((answer) => answer === "ok")).toEqual([]);
  expect(performance.now() - wokenMs).toBeLessThan(failFastMs);
  expect(linesOf(first).at(-1)).toMatchObject({ msg: "service failed", err: { message: expect.stringContaining("leadership") } });
  await caller.goesOn(50, takeoverMs);
  await caller.stop();
  expect(await caller.missing()).toEqual([]);
  expect(await standby.state()).toBe("active");
  const { bbs } = operator;
  for (const guid of asked)
    expect(await outcome(unary(bbs.desiredLrpByProcessGuid.bind(bbs), { processGuid: guid }))).toBe("ResourceNotFound");
  // Nobody waited for the whole minute: a client leaves a server that is silent.
  const longestMs = Math.max(...caller.heard.map(({ tookMs }) => tookMs));
  console.info(
    JSON.stringify({ took_over_ms: Math.round(tookOverMs), longest_call_ms: Math.round(longestMs), calls: caller.heard.length }),
  );
  expect(tookOverMs).toBeGreaterThan(leadershipTtlMs / 2);
  expect(longestMs).toBeLessThan(leadershipTtlMs + failFastMs);
});

it("etcd frozen for a minute: nothing is acknowledged meanwhile, the leader gives up its term, and the standby serves afterwards", async () => {
  await using etcd = await startEtcd();
  const home = await etcdHome(etcd);
  await using first = await spawn(home);
  await first.until("active");
  await using standby = await spawn(home);
  await standby.until("standby");
  using operator = await clientsOf([first.address, standby.address], "operator");
  await using caller = new Caller(operator);
  await caller.goesOn(50, takeoverMs);

  etcd.freeze();
  const frozenMs = performance.now();
  // By its own clock: nobody can tell it.
  expect(await first.exited).toBe(75);
  const gaveUpMs = performance.now() - frozenMs;
  expect(gaveUpMs).toBeGreaterThan(leadershipTtlMs / 2);
  expect(gaveUpMs).toBeLessThan(leadershipTtlMs + failFastMs);
  expect(linesOf(first).at(-1)).toMatchObject({ msg: "service failed", err: { message: expect.stringContaining("leadership") } });
  // As its supervisor does.
  await using again = await spawn(home, Number(first.address.split(":")[1]));
  await sleep(Math.max(0, frozenMs + minuteMs - performance.now()));
  expect([await standby.state(), await again.state()]).not.toContain("active");
  // What was under way when the silence began may have been committed before it.
  const meanwhile = caller.since(frozenMs + 100);
  expect(meanwhile.length).toBeGreaterThan(0);
  expect(meanwhile.filter(({ outcome: heard }) => heard === "ok")).toEqual([]);
  expect(Math.max(...meanwhile.map(({ tookMs }) => tookMs))).toBeLessThan(failFastMs);

  etcd.thaw();
  const thawedMs = performance.now();
  await etcd.ready();
  await caller.goesOn(50, takeoverMs);
  const backMs = performance.now() - thawedMs;
  await caller.stop();
  expect(await caller.missing()).toEqual([]);
  expect([await standby.state(), await again.state()].sort()).toEqual(["active", "standby"]);
  console.info(JSON.stringify({ gave_up_ms: Math.round(gaveUpMs), back_ms: Math.round(backMs), calls: caller.heard.length }));
});
