// How long the oldest instance has waited for a place.
import { asEpochMs, asProcessGuid, type Change, drop, epochMsToNs, put, Tables, type Write } from "@muster/shared/model";
import { beforeEach, describe, expect, it } from "vitest";
import { actualLRP, claimed, desiredLRP } from "../testing/records.js";
import { Unplaced } from "./unplaced.js";

const nowMs = asEpochMs(1_700_000_000_000);
let tables = new Tables();
let unplaced = new Unplaced();
const apply = (...writes: Write[]): void => {
  for (const change of tables.applyAll(writes) as Change[]) unplaced.note(change);
};
const waiting = (index: number, ms: number) =>
  put("actualLRP", actualLRP({ processGuid: asProcessGuid("a"), index, sinceNs: epochMsToNs(asEpochMs(nowMs - ms)) }));
const oldestMs = (): number => unplaced.oldestMs(tables, nowMs);

beforeEach(() => {
  tables = new Tables();
  unplaced = new Unplaced();
  apply(put("desiredLRP", desiredLRP("a", { instances: 3 })));
});

describe("the oldest instance without a place", () => {
  it("is the one that waits longest, whatever the order", () => {
    expect(oldestMs()).toBe(0);
    apply(waiting(0, 5_000), waiting(1, 9_000), waiting(2, 7_000));
    expect(oldestMs()).toBe(9_000);
  });

  it("is none that has a place by now, has gone, or is not wanted", () => {
    apply(waiting(0, 1_000), waiting(1, 9_000), waiting(2, 7_000), waiting(3, 60_000));
    expect(oldestMs()).toBe(9_000);
    apply(put("actualLRP", claimed("a", 1, "c1")));
    expect(oldestMs()).toBe(7_000);
    apply(drop("actualLRP", actualLRP({ processGuid: asProcessGuid("a"), index: 2 })));
    expect(oldestMs()).toBe(1_000);
  });

  it("does not count rows of other presences, nor crashed ones", () => {
    apply(put("actualLRP", actualLRP({ processGuid: asProcessGuid("a"), state: "CRASHED", crashCount: 3 })));
    expect(oldestMs()).toBe(0);
  });
});
