// What housekeeping says, and how often.
import { fakeClock } from "@muster/shared/clock";
import type { Log } from "@muster/shared/log";
import { createRegistry } from "@muster/shared/metrics";
import { Tables } from "@muster/shared/model";
import type { StoreUsage } from "@muster/store";
import { expect, it } from "vitest";
import { Housekeeper, healthWith } from "./housekeeper.js";
import { housekeepingMetrics } from "./metrics.js";

function setup() {
  const usage = {
    usedBytes: 10,
    fileBytes: 10,
    allowedBytes: 100,
    closed: false,
    advice: "make room",
    compactions: { done: 3, failed: 1 },
  };
  const said: string[] = [];
  const say = (level: string) => (_facts: object, message: string) => said.push(`${level}: ${message}`);
  const log = { info: say("info"), warn: say("warn"), error: say("error"), debug: () => undefined } as unknown as Log;
  const clock = fakeClock();
  let answers = true;
  const store = {
    usage: async (): Promise<StoreUsage> => {
      if (!answers) throw new Error("away");
      return { ...usage };
    },
  };
  const keeper = new Housekeeper(store, clock, log);
  const stop = new AbortController();
  void keeper.run(stop.signal);
  /** The store holds this much for half a minute. */
  const hold = async (usedBytes: number): Promise<void> => {
    usage.usedBytes = usedBytes;
    await clock.advance(30_000);
  };
  const away = (is: boolean): void => {
    answers = !is;
  };
  return { usage, said, keeper, hold, away, stop };
}

const task = [{ kind: "task", key: "t", record: { taskGuid: "t" } }] as never;

it("tells each crossing once, and refuses desires while it is scarce", async () => {
  const { said, keeper, hold, stop } = setup();
  const tables = new Tables();
  await hold(50);
  expect(said).toEqual([]);
  await hold(75);
  expect(keeper.detail).toBe("the store is 75 % full: make room");
  expect(() => keeper.admit(tables, task)).not.toThrow();
  await hold(90);
  expect(() => keeper.admit(tables, task)).toThrow(
    "the store is 90 % full, new desires are refused: make room; what is desired already goes on, and removing makes room",
  );
  expect(() => keeper.admit(tables, [])).not.toThrow();
  await hold(20);
  expect(() => keeper.admit(tables, task)).not.toThrow();
  expect(said).toEqual([
    "warn: store fills up",
    "error: store is nearly full, new desires are refused",
    "info: store has room again",
  ]);
  expect(keeper.refused).toBe(1);
  stop.abort();
});

it("a store that does not answer changes nothing but the count", async () => {
  const { said, keeper, hold, away, stop } = setup();
  await hold(90);
  away(true);
  await hold(10);
  expect(keeper.level).toBe("scarce");
  expect(keeper.failures).toBeGreaterThan(3);
  away(false);
  await hold(10);
  expect(keeper.level).toBe("ample");
  expect(said).toHaveLength(2);
  stop.abort();
});

it("health says what to do about an alarm", async () => {
  const { usage, keeper, hold, stop } = setup();
  usage.closed = true;
  await hold(10);
  const standby = { ok: true, state: "standby" };
  expect(healthWith(keeper, standby, undefined)).toEqual({
    ...standby,
    detail: "the store has raised its alarm for want of space and takes no writes: make room",
  });
  usage.closed = false;
  await hold(10);
  expect(healthWith(keeper, standby, undefined)).toEqual(standby);
  stop.abort();
});

it("metrics follow it", async () => {
  const { keeper, hold, stop } = setup();
  const registry = createRegistry("bbs");
  housekeepingMetrics(registry, keeper);
  await hold(90);
  const text = await registry.metrics();
  const sample = (name: string): string | undefined =>
    text
      .split("\n")
      .find((line) => line.startsWith(name))
      ?.split(" ")
      .at(-1);
  expect(["file_bytes", "space_level"].map((name) => sample(`bbs_store_${name}`))).toEqual(["10", "2"]);
  expect(sample('bbs_store_compactions_total{result="failed"')).toBe("1");
  stop.abort();
});
