// Events in words, with what a crash ended with and said last.
import type { HistoryEvent } from "@muster/proto/muster/v1/history";
import { describe, expect, it } from "vitest";
import { eventShape, eventText, exitStatusOf, lastWordsOf } from "./events.js";
import type { LogLine } from "./log-lines.js";

const event = (change: Partial<HistoryEvent>): HistoryEvent => ({
  atMs: 1_000n,
  sequence: 1n,
  kind: "started",
  processGuid: "app-version",
  index: 2,
  taskGuid: "",
  instanceGuid: "i",
  cellId: "cell-1",
  reason: "",
  crashCount: 0,
  ...change,
});
const text = (change: Partial<HistoryEvent>): string => eventText(eventShape(event(change), []));

it("a crash has its exit status and its last lines", () => {
  const reason = "APP/PROC/WEB: Exited with status 137 (out of memory)";
  expect(eventShape(event({ kind: "crashed", reason, crashCount: 3 }), ["bye"])).toEqual({
    time: "1970-01-01T00:00:01.000Z",
    event: "crashed",
    process_guid: "app-version",
    index: 2,
    task_guid: "",
    instance_guid: "i",
    cell_id: "cell-1",
    crash_count: 3,
    exit_status: 137,
    reason,
    last_lines: ["bye"],
  });
});

describe("in words", () => {
  it.each<[Partial<HistoryEvent>, string]>([
    [{ kind: "waiting", cellId: "" }, "waits for a place"],
    [{ kind: "not-placed", reason: "insufficient resources: memory" }, "has no place: insufficient resources: memory"],
    [{ kind: "claimed" }, "is placed on cell-1"],
    [{}, "runs on cell-1"],
    [{ kind: "crashed", reason: "Exited with status 1", crashCount: 2 }, "crashed on cell-1 (crash 2): Exited with status 1"],
    [{ kind: "evacuating" }, "stays on cell-1, which is being emptied"],
    [{ kind: "suspect" }, "nobody hears of cell-1"],
    [{ kind: "returned" }, "is back on cell-1"],
    [{ kind: "removed" }, "is gone from cell-1"],
    [{ kind: "removed", cellId: "" }, "is not wanted any more"],
    [{ kind: "task-failed", reason: "Exited with status 3" }, "failed on cell-1: Exited with status 3"],
    [{ kind: "of-a-later-version", reason: "why" }, "of-a-later-version on cell-1: why"],
  ])("%o", (change, words) => {
    expect(text(change)).toContain(words);
  });
});

it("an end without a status has none", () => {
  expect(exitStatusOf("failed to create container: there is no image x in registry y")).toBeNull();
  expect(exitStatusOf("Exited with status 0")).toBe(0);
});

it("the last lines are the app's own, not its cell's", () => {
  const lines = ["APP/PROC/WEB", "CELL", "APP/PROC/WEB", "HEALTH"].map((source, n) => ({ source, line: `${n}` }) as LogLine);
  expect(lastWordsOf(lines)).toEqual(["0", "2"]);
  const many = Array.from({ length: 9 }, (_, n) => ({ source: "APP/TASK/x", line: `${n}` }) as LogLine);
  expect(lastWordsOf(many)).toEqual(["4", "5", "6", "7", "8"]);
});
