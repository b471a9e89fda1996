// Three BBS processes on one etcd: one serves, and whoever is left serves on.
import { expect, it } from "vitest";
import { type BbsProcess, clientsOf, etcdHome, spawnBbs } from "../../support/bbs.js";
import { startEtcd } from "../../support/etcd.js";
import { eventually } from "../bbs/fixtures.js";
import { Caller } from "./caller.js";

const ttlMs = 2_000;
const takeoverMs = 30_000;

class Team implements AsyncDisposable {
  readonly all: BbsProcess[] = [];

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.all.map((bbs) => bbs[Symbol.asyncDispose]()));
  }
}

it("two of three killed, the third frozen and thawed beside a new one: one serves at a time, and nothing acknowledged is lost", async () => {
  await using etcd = await startEtcd();
  const home = await etcdHome(etcd);
  await using team = new Team();
  const { all } = team;
  const spawn = async (port?: number): Promise<BbsProcess> => {
    const bbs = await spawnBbs(home, { leadershipTtlMs: ttlMs, ...(port === undefined ? {} : { port }) });
    all.push(bbs);
    return bbs;
  };
  for (let n = 0; n < 3; n += 1) await spawn();
  using operator = await clientsOf(
    all.map(({ address }) => address),
    "operator",
  );
  const states = (): Promise<(string | undefined)[]> => Promise.all(all.filter((bbs) => bbs.running).map((bbs) => bbs.state()));
  const active = (except?: BbsProcess): Promise<BbsProcess> =>
    eventually(
      "one serves",
      async () => {
        for (const bbs of all) if (bbs !== except && bbs.running && (await bbs.state()) === "active") return bbs;
        return undefined;
      },
      takeoverMs,
    );
  await using caller = new Caller(operator);
  for (let killed = 0; killed < 2; killed += 1) {
    const serving = await active();
    await caller.goesOn(50, takeoverMs);
    expect((await states()).filter((state) => state === "active")).toHaveLength(1);
    serving.kill("SIGKILL");
    await serving.exited;
  }
  const last = await active();
  await caller.goesOn(50, takeoverMs);
  const dead = all.find((bbs) => !bbs.running);
  const fresh = await spawn(Number(dead?.address.split(":")[1]));
  await fresh.until("standby");
  last.kill("SIGSTOP");
  await fresh.until("active", takeoverMs);
  await caller.goesOn(50, takeoverMs);
  last.kill("SIGCONT");
  expect(await last.exited).toBe(75);
  expect(await states()).toEqual(["active"]);
  await caller.goesOn();
  await caller.stop();
  expect(await caller.missing()).toEqual([]);
}, 120_000);
