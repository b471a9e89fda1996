// What an operator is told while a cell is emptied.
import { describe, expect, it } from "vitest";
import { evacuationLines, evacuationShape, remainingText } from "./evacuate.js";

const blocker = (waitingFor: string, index = 0) => ({
  instanceGuid: `i${index}`,
  processGuid: "p",
  index,
  taskGuid: "",
  state: "RUNNING",
  waitingFor,
});
const response = { evacuating: true, timedOut: false, elapsedMs: 1_500n, remaining: [blocker("its replacement to run")] };

describe("an evacuation", () => {
  it("tells what is left and what it waits for", () => {
    const shape = evacuationShape("cell-1", response);
    expect(shape).toEqual({
      cell_id: "cell-1",
      evacuating: true,
      complete: false,
      timed_out: false,
      elapsed_ms: 1_500,
      remaining: [
        {
          process_guid: "p",
          index: 0,
          task_guid: "",
          instance_guid: "i0",
          state: "RUNNING",
          waiting_for: "its replacement to run",
        },
      ],
    });
    expect(evacuationLines(shape)).toEqual([
      "cell-1 is evacuating and takes no new work: 1 left, waiting: 1 for its replacement to run",
    ]);
  });

  it("is complete once nothing is left, and says how to take it back", () => {
    const shape = evacuationShape("cell-1", { ...response, remaining: [] });
    expect(shape.complete).toBe(true);
    expect(evacuationLines(shape)[0]).toContain("muster evacuate cell-1 --cancel");
  });

  it("that was taken back is not complete, though nothing is left to move", () => {
    const shape = evacuationShape("cell-1", { ...response, evacuating: false, remaining: [] });
    expect(shape.complete).toBe(false);
    expect(evacuationLines(shape)).toEqual(["cell-1 takes work again"]);
  });

  it("whose time is over says so", () => {
    expect(evacuationLines(evacuationShape("cell-1", { ...response, timedOut: true }))[1]).toContain("being stopped");
  });
});

it("what many wait for is counted, the most frequent first, and bounded", () => {
  const remaining = ["a", "b", "b", "c", "d"].map((waiting_for) => ({ waiting_for }));
  expect(remainingText(remaining)).toBe("5 left, waiting: 2 for b; 1 for a; 1 for c; …");
});
