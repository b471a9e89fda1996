// The whole house on a fake clock: hurt for two simulated minutes by every fault at once, then left to heal. The even seeds, and one twice.
import { describe, expect, it } from "vitest";
import { simulate } from "./scenario.js";
import { describeSeeds } from "./seeds.js";

describeSeeds(0);

describe("one seed", () => {
  it("replays to the byte, and another seed differs", async () => {
    const options = { hurtTicks: 400 };
    const [once, again, other] = [
      await simulate({ seed: 7, ...options }),
      await simulate({ seed: 7, ...options }),
      await simulate({ seed: 8, ...options }),
    ];
    expect(again).toEqual(once);
    expect(other.traceHash).not.toBe(once.traceHash);
  });
});
