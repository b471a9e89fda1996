// The due queue against a plain map.
import { asEpochMs, asProcessGuid } from "@muster/shared/model";
import { instanceRepair } from "@muster/shared/rules";
import fc from "fast-check";
import { expect, it } from "vitest";
import { DueQueue, repairKey } from "./due-queue.js";

const repair = (index: number) => instanceRepair("restart", asProcessGuid("p"), index);

it("gives out each repair once, at its latest time, earliest first", () => {
  const step = fc.oneof(
    { weight: 4, arbitrary: fc.record({ index: fc.nat(20), atMs: fc.nat(100) }) },
    { weight: 1, arbitrary: fc.record({ untilMs: fc.nat(100) }) },
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 400 }), (steps) => {
      const queue = new DueQueue();
      const plain = new Map<string, number>();
      for (const step of steps) {
        if ("index" in step) {
          queue.add(repair(step.index), asEpochMs(step.atMs));
          plain.set(repairKey(repair(step.index)), step.atMs);
        } else {
          const due = [...plain].filter(([, atMs]) => atMs <= step.untilMs);
          const taken = queue.takeDue(asEpochMs(step.untilMs)).map(repairKey);
          expect([...taken].sort()).toEqual(due.map(([key]) => key).sort());
          expect(taken.map((key) => plain.get(key))).toEqual(due.map(([, atMs]) => atMs).sort((a, b) => a - b));
          for (const key of taken) plain.delete(key);
        }
        expect(queue.size).toBe(plain.size);
        expect(queue.nextMs()).toBe(plain.size === 0 ? undefined : Math.min(...plain.values()));
      }
    }),
  );
});

it("forgets everything when cleared", () => {
  const queue = new DueQueue();
  queue.add(repair(1), asEpochMs(5));
  queue.clear();
  expect([queue.size, queue.nextMs(), queue.takeDue(asEpochMs(9))]).toEqual([0, undefined, []]);
});
