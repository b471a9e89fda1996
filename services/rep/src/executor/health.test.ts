// Start-up probes, liveness and readiness on the fake clock.
import { fakeClock } from "@muster/shared/clock";
import { describe, expect, it } from "vitest";
import type { Check } from "../plan/index.js";
import { awaitStartup, awaitUnhealthy, watchReadiness } from "./health.js";

const check = (port: number, intervalMs = 30_000): Check => ({ kind: "tcp", port, path: "/", timeoutMs: 1_000, intervalMs });

/** Probes that pass from a moment on, and are written down. */
function world(passesAtMs: Readonly<Record<number, number>> = {}) {
  const clock = fakeClock();
  const stop = new AbortController();
  const probes: string[] = [];
  const failing = new Set<number>();
  const probe = async ({ port }: Check): Promise<string | undefined> => {
    probes.push(`${port} at ${clock.elapsedMs()}`);
    return clock.elapsedMs() >= (passesAtMs[port] ?? 0) && !failing.has(port) ? undefined : `port ${port} is closed`;
  };
  return { clock, stop, probes, failing, options: { clock, probe, signal: stop.signal } };
}

describe("start-up", () => {
  it("probes at once, then after 25 ms, doubling to 2 s", async () => {
    const { clock, probes, options } = world({ 1: 8_000 });
    const result = awaitStartup(options, [check(1)], 60_000);
    await clock.advance(10_000);
    expect(await result).toEqual({ ok: true });
    expect(probes.map((probe) => Number(probe.split(" at ")[1]))).toEqual([
      0, 25, 75, 175, 375, 775, 1_575, 3_175, 5_175, 7_175, 9_175,
    ]);
  });

  it("needs every check to pass once", async () => {
    const { clock, options, failing } = world({ 2: 1_000 });
    const result = awaitStartup(options, [check(1), check(2)], 60_000);
    await clock.advance(500);
    failing.add(1);
    await clock.advance(2_000);
    expect(await result).toEqual({ ok: true });
  });

  it("fails when its time is over, with the last words of the check", async () => {
    const { clock, options } = world({ 1: 100_000 });
    const result = awaitStartup(options, [check(1)], 60_000);
    await clock.advance(60_000);
    expect(await result).toMatchObject({
      ok: false,
      afterMs: 60_000,
      text: expect.stringMatching(
        /^Timed out after 1m0s \(\d+ attempts\) waiting for startup check to succeed: port 1 is closed$/,
      ),
    });
  });

  it("tells of every check that did not pass", async () => {
    const { clock, options } = world({ 1: 100_000, 2: 100_000 });
    const result = awaitStartup(options, [check(1), check(2), check(3)], 1_000);
    await clock.advance(1_000);
    const one = "Timed out after 1s (7 attempts) waiting for startup check to succeed: port";
    expect(await result).toEqual({ ok: false, afterMs: 1_000, text: `${one} 1 is closed; ${one} 2 is closed` });
  });

  it("has a last try when its time is over", async () => {
    const { clock, options } = world({ 1: 3_000 });
    const result = awaitStartup(options, [check(1)], 3_000);
    await clock.advance(3_000);
    expect(await result).toEqual({ ok: true });
  });

  it("is kept waiting by no check that may take longer than what is left, save for a second", async () => {
    const { clock, options } = world();
    const asked: string[] = [];
    const probe = async ({ timeoutMs }: Check): Promise<string> => {
      asked.push(`${timeoutMs} at ${clock.elapsedMs()}`);
      await clock.sleep(timeoutMs, options.signal);
      return "no answer";
    };
    const slow = { ...check(1), timeoutMs: 3_600_000 };
    const result = awaitStartup({ ...options, probe }, [slow], 5_000);
    await clock.advance(6_000);
    expect(await result).toMatchObject({ ok: false, afterMs: 5_000, text: expect.stringMatching(/\(1 attempts\).*no answer$/) });
    expect(asked).toEqual(["5000 at 0"]);
    asked.length = 0;
    const quick = awaitStartup({ ...options, probe }, [check(1)], 1_500);
    await clock.advance(3_000);
    expect(await quick).toMatchObject({ ok: false, afterMs: 2_025 });
    expect(asked).toEqual(["1000 at 6000", "1000 at 7025"]);
  });

  it("waits for ever with a time-out of 0, until told to stop", async () => {
    const { clock, options, stop } = world({ 1: Number.POSITIVE_INFINITY });
    const result = awaitStartup(options, [check(1)], 0);
    await clock.advance(600_000);
    stop.abort();
    await clock.advance(0);
    expect(await result).toBeUndefined();
  });

  it("is over at once without checks", async () => {
    const { options } = world();
    expect(await awaitStartup(options, [], 60_000)).toEqual({ ok: true });
  });

  it("takes a probe that throws for one that failed", async () => {
    const { clock, options } = world();
    const broken = { ...options, probe: () => Promise.reject(new Error("no network")) };
    const result = awaitStartup(broken, [check(1)], 100);
    await clock.advance(100);
    expect(await result).toMatchObject({ ok: false, text: expect.stringContaining("no network") });
  });
});

describe("liveness", () => {
  it("ends with the first failure of any check, looked for at once and at each check's interval", async () => {
    const { clock, options, probes, failing } = world();
    const result = awaitUnhealthy(options, [check(1, 10_000), check(2, 30_000)]);
    await clock.advance(30_000);
    expect(probes).toEqual(["1 at 0", "2 at 0", "1 at 10000", "1 at 20000", "2 at 30000", "1 at 30000"]);
    failing.add(1);
    await clock.advance(10_000);
    expect(await result).toBe("Liveness check unsuccessful: port 1 is closed");
  });

  it("stops when told", async () => {
    const { clock, options, stop } = world();
    const result = awaitUnhealthy(options, [check(1)]);
    stop.abort();
    await clock.advance(0);
    expect(await result).toBeUndefined();
    expect(clock.nextTimerMs()).toBeUndefined();
  });
});

describe("readiness", () => {
  /** Follows until it is over; what it told, and when. */
  function watched(ports: readonly number[], passesAtMs: Readonly<Record<number, number>>, ready = false, fails: number[] = []) {
    const { clock, options, stop, probes, failing } = world(passesAtMs);
    for (const port of fails) failing.add(port);
    const told: string[] = [];
    const checks = ports.map((port) => check(port, 10_000));
    const onChange = (now: boolean, text: string): void => void told.push(`${now} ${text} at ${clock.elapsedMs()}`);
    const watching = watchReadiness(options, { checks, ready, onChange });
    const end = async (): Promise<void> => {
      stop.abort();
      await clock.advance(0);
      await watching;
      expect(clock.nextTimerMs()).toBeUndefined();
    };
    return { clock, probes, failing, told, end };
  }
  const closed = "Readiness check unsuccessful: port 1 is closed";

  it("looks quickly until a check passes, then at the check's own interval until it fails, then every 2 s at most", async () => {
    const { clock, probes, failing, told, end } = watched([1], { 1: 100 });
    await clock.advance(10_000);
    failing.add(1);
    await clock.advance(8_000);
    failing.delete(1);
    await clock.advance(4_000);
    await end();
    const times = [
      0, 25, 75, 175, 175, 10_175, 12_175, 12_200, 12_250, 12_350, 12_550, 12_950, 13_750, 15_350, 17_350, 19_350, 19_350,
    ];
    expect(probes).toEqual(times.map((ms) => `1 at ${ms}`));
    expect(told).toEqual(["true  at 175", `false ${closed} at 10175`, "true  at 19350"]);
  });

  it("needs every check to pass, and one to fail", async () => {
    const { clock, failing, told, end } = watched([1, 2], { 2: 200 });
    await clock.advance(1_000);
    failing.add(1);
    await clock.advance(10_000);
    failing.delete(1);
    await clock.advance(2_000);
    await end();
    expect(told).toEqual(["true  at 375", `false ${closed} at 10375`, "true  at 12375"]);
  });

  it.each([
    { is: "is ready still is not told", failing: [], told: [] },
    { is: "is not ready any more is", failing: [1], told: [`false ${closed} at 0`] },
  ])("that was known before and $is", async ({ failing: ports, told: expected }) => {
    const { clock, told, end } = watched([1], {}, true, ports);
    await clock.advance(1_500);
    await end();
    expect(told).toEqual(expected);
  });
});
