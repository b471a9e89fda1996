// The counts that need no search, on histories written by hand.
import { describe, expect, it } from "vitest";
import { countAnomalies } from "./anomalies.js";
import { cancel, del, desire, desireTask, historyOf, type Line, listTask, read, readTask, resolve, update } from "./lines.js";

describe("anomalies", () => {
  const count = (quietFromMs: number, ...lines: readonly Line[]) => countAnomalies(historyOf(...lines), quietFromMs);
  const none = { staleReads: 0, lostWrites: 0, inventedReads: 0 };

  it("a read before the last acknowledged write is stale, and in the end that write is lost", () => {
    const lines: readonly Line[] = [
      [0, 1, desire("a")],
      [2, 3, update("b")],
      [4, 5, read, "1 a"],
    ];
    expect(count(100, ...lines)).toEqual({ ...none, staleReads: 1 });
    expect(count(4, ...lines)).toEqual({ ...none, lostWrites: 1 });
  });

  it("nothing there after a desire that nobody can have removed", () => {
    expect(count(2, [0, 1, desire("a")], [2, 3, read, "ResourceNotFound"])).toEqual({ ...none, lostWrites: 1 });
    expect(count(2, [0, 1, desire("a")], [1, undefined, { do: "remove" }], [2, 3, read, "ResourceNotFound"])).toEqual(none);
  });

  it("a deleted task that is read, and one that is gone before anybody deleted it", () => {
    const life: readonly Line[] = [
      [0, 1, desireTask("a")],
      [2, 3, cancel],
      [4, 5, resolve],
    ];
    expect(count(9, ...life, [6, 7, del], [8, 8.5, listTask, "Resolving task was cancelled a"])).toEqual({
      ...none,
      staleReads: 1,
    });
    expect(count(6, ...life, [6, 7, readTask, "ResourceNotFound"])).toEqual({ ...none, lostWrites: 1 });
  });

  it("something there after an acknowledged removal, and what nobody wrote", () => {
    expect(count(9, [0, 1, desire("a")], [2, 3, { do: "remove" }], [4, 5, read, "1 a"])).toEqual({ ...none, staleReads: 1 });
    expect(count(9, [0, 1, desire("a")], [4, 5, read, "1 ghost"])).toEqual({ ...none, inventedReads: 1 });
  });
});
