// The one promise of the system clock that Node does not keep by itself.
import { expect, it } from "vitest";
import { systemClock } from "./system.js";

it("a sleep that is cut short tells the signal's own reason", async () => {
  const stop = new AbortController();
  const sleeping = systemClock.sleep(60_000, stop.signal);
  stop.abort("SIGTERM");
  await expect(sleeping).rejects.toBe("SIGTERM");
  await expect(systemClock.sleep(60_000, stop.signal)).rejects.toBe("SIGTERM");
});

it("a sleep ends by itself", async () => {
  const startedMs = systemClock.elapsedMs();
  await systemClock.sleep(5);
  expect(systemClock.elapsedMs() - startedMs).toBeGreaterThanOrEqual(4);
});
