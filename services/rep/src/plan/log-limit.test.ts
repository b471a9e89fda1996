// The log rate limit of an app.
import { describe, expect, it } from "vitest";
import { LogLimiter } from "./log-limit.js";

describe("a limit on log bytes", () => {
  it("lets a second's worth through, then announces once and is silent for a second", () => {
    const limiter = new LogLimiter(100);
    expect([limiter.take(60, 0), limiter.take(40, 0)]).toEqual(["pass", "pass"]);
    expect([limiter.take(1, 0), limiter.take(1, 500), limiter.take(1, 999)]).toEqual(["announce", "drop", "drop"]);
    expect(limiter.take(100, 1_000)).toBe("pass");
  });

  it("fills up again as time passes, to one second's worth at most", () => {
    const limiter = new LogLimiter(100);
    limiter.take(100, 0);
    expect(limiter.take(50, 500)).toBe("pass");
    expect(limiter.take(101, 60_000)).toBe("announce");
  });

  it.each([
    { limit: -1, fate: "pass" },
    { limit: 0, fate: "drop" },
  ] as const)("of $limit: always $fate", ({ limit, fate }) => {
    const limiter = new LogLimiter(limit);
    expect([limiter.take(1_000_000, 0), limiter.take(1_000_000, 0)]).toEqual([fate, fate]);
  });

  it("does not fill up from lines that come out of order", () => {
    const limiter = new LogLimiter(100);
    limiter.take(100, 5_000);
    expect(limiter.take(1, 1_000)).toBe("announce");
  });
});
