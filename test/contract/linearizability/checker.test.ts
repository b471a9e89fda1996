// The checker finds what it must, and lets pass what is right: histories written by hand.
import { describe, expect, it } from "vitest";
import { checkHistory } from "./checker.js";
import {
  cancel,
  claim,
  complete,
  del,
  desire,
  desireTask,
  historyOf,
  type Line,
  listTask,
  read,
  readTask,
  resolve,
  rows,
  startTask,
  update,
} from "./lines.js";
import { lrpModel } from "./lrp-model.js";
import { isTaskOp, judgeHistory } from "./ops.js";

const verdict = (...lines: readonly Line[]): boolean | undefined => {
  const kind = lines.some(([, , op]) => isTaskOp(op)) ? "task" : "lrp";
  return judgeHistory(kind, historyOf(...lines)).linearizable;
};

describe("is linearizable", () => {
  it.each<[string, readonly Line[]]>([
    ["nothing at all", []],
    [
      "one call after the other",
      [
        [0, 1, desire("a")],
        [2, 3, read, "1 a"],
        [4, 5, claim("i")],
        [6, 7, rows, "CLAIMED i"],
      ],
    ],
    [
      "a read beside a write, either way",
      [
        [0, 1, desire("a")],
        [2, 9, update("b")],
        [3, 4, read, "1 b"],
        [2, 9, read, "1 a"],
      ],
    ],
    [
      "of two desires at once one",
      [
        [0, 5, desire("a"), "ResourceExists"],
        [1, 6, desire("b")],
        [7, 8, read, "1 b"],
      ],
    ],
    [
      "an unknown write that came late",
      [
        [0, 1, desire("a")],
        [2, undefined, update("b")],
        [3, 4, read, "1 a"],
        [9, 10, read, "1 b"],
      ],
    ],
    [
      "an unknown write that never came",
      [
        [0, 1, desire("a")],
        [2, undefined, update("b")],
        [3, 4, read, "1 a"],
      ],
    ],
    [
      "unknown writes that explain each other",
      [
        [0, undefined, desire("a")],
        [1, undefined, { do: "remove" }],
        [2, 3, read, "ResourceNotFound"],
        [4, 5, read, "1 a"],
        [6, 7, desire("c")],
      ],
    ],
    [
      "a task's whole life, and another by the same name",
      [
        [0, 1, desireTask("a")],
        [2, 3, startTask("cell-1")],
        [4, 5, readTask, "Running cell-1 a"],
        [6, 7, startTask("cell-1"), "already started"],
        [8, 9, complete("cell-2", "r"), "RunningOnDifferentCell"],
        [10, 11, complete("cell-1", "r")],
        [12, 13, listTask, "Completed r a"],
        [14, 15, resolve],
        [16, 17, del],
        [18, 19, readTask, "ResourceNotFound"],
        [20, 21, desireTask("b")],
        [22, 23, readTask, "Pending b"],
      ],
    ],
    [
      "a cancel beside a completion, either way",
      [
        [0, 1, desireTask("a")],
        [2, 3, startTask("cell-1")],
        [4, 9, cancel],
        [4, 9, complete("cell-1", "r"), "InvalidStateTransition"],
        [10, 11, readTask, "Completed task was cancelled a"],
      ],
    ],
    [
      "a start of unknown outcome that came late",
      [
        [0, 1, desireTask("a")],
        [2, undefined, startTask("cell-2")],
        [3, 4, listTask, "Pending a"],
        [5, 6, readTask, "Running cell-2 a"],
      ],
    ],
  ])("%s", (_, lines) => {
    expect(verdict(...lines)).toBe(true);
  });
});

describe("is not linearizable", () => {
  it.each<[string, readonly Line[]]>([
    [
      "a stale read",
      [
        [0, 1, desire("a")],
        [2, 3, update("b")],
        [4, 5, read, "1 a"],
      ],
    ],
    [
      "a stale read between fresh ones",
      [
        [0, 1, desire("a")],
        [2, 9, update("b")],
        [3, 4, read, "1 b"],
        [5, 6, read, "1 a"],
      ],
    ],
    [
      "a lost write",
      [
        [0, 1, desire("a")],
        [2, 3, read, "ResourceNotFound"],
      ],
    ],
    [
      "a lost row",
      [
        [0, 1, desire("a")],
        [2, 3, claim("i")],
        [4, 5, rows, "UNCLAIMED"],
      ],
    ],
    [
      "two acknowledged writes in the wrong order",
      [
        [0, 1, desire("a")],
        [2, 3, update("b")],
        [4, 5, update("c")],
        [6, 7, read, "1 b"],
      ],
    ],
    [
      "two readers that disagree about an order",
      [
        [0, 1, desire("a")],
        [2, 20, update("b")],
        [2, 20, update("c")],
        [3, 4, read, "1 b"],
        [5, 6, read, "1 c"],
        [7, 8, read, "1 b"],
      ],
    ],
    [
      "an unknown write that took effect twice",
      [
        [0, 1, desire("a")],
        [2, undefined, update("b")],
        [3, 4, read, "1 b"],
        [5, 6, update("c")],
        [7, 8, read, "1 b"],
      ],
    ],
    [
      "a write that was refused as not admitted, and is there",
      [
        [0, 1, desire("a")],
        [4, 5, read, "1 ghost"],
      ],
    ],
    ["a refusal that nothing explains", [[0, 1, desire("a"), "ResourceExists"]]],
    [
      "two claims that both won",
      [
        [0, 1, desire("a")],
        [2, 9, claim("i")],
        [2, 9, claim("j")],
      ],
    ],
    [
      "half of a command",
      [
        [0, 1, desire("a", 2)],
        [2, 3, rows, "UNCLAIMED"],
      ],
    ],
    [
      "a thawed leader's answer",
      [
        [0, 1, desire("a")],
        [2, 30, read, "1 a"],
        [3, 4, { do: "remove" }],
        [5, 6, read, "ResourceNotFound"],
        [31, 32, read, "1 a"],
      ],
    ],
    [
      "two cells that were both told to start a task",
      [
        [0, 1, desireTask("a")],
        [2, 9, startTask("cell-1")],
        [2, 9, startTask("cell-2")],
      ],
    ],
    [
      "a task that waits again after its start was acknowledged",
      [
        [0, 1, desireTask("a")],
        [2, 3, startTask("cell-1")],
        [4, 5, listTask, "Pending a"],
      ],
    ],
    [
      "a cancel and a completion that both won",
      [
        [0, 1, desireTask("a")],
        [2, 3, startTask("cell-1")],
        [4, 9, cancel],
        [4, 9, complete("cell-1", "r")],
      ],
    ],
    [
      "an outcome that changes",
      [
        [0, 1, desireTask("a")],
        [2, 3, startTask("cell-1")],
        [4, 9, complete("cell-1", "r")],
        [10, 11, readTask, "Completed task was cancelled a"],
      ],
    ],
    [
      "a deleted task that comes back",
      [
        [0, 1, desireTask("a")],
        [2, 3, cancel],
        [4, 5, resolve],
        [6, 7, del],
        [8, 9, readTask, "Resolving task was cancelled a"],
      ],
    ],
  ])("%s", (_, lines) => {
    expect(verdict(...lines)).toBe(false);
  });

  it("names the calls none of which could be next", () => {
    const found = checkHistory(
      lrpModel,
      historyOf([0, 1, desire("a")], [2, 3, update("b")], [4, 5, read, "1 a"], [6, 7, read, "1 b"]),
    );
    expect(found).toMatchObject({ linearizable: false, ordered: 2, stuck: [{ op: read, answer: { result: "1 a" } }] });
  });
});

it("says when it does not know", () => {
  const unknown = Array.from({ length: 14 }, (_, n): Line => [n, undefined, update(`u${n}`)]);
  const lines: Line[] = [[0, 1, desire("a")], ...unknown, [50, 51, read, "1 nobody"]];
  expect(checkHistory(lrpModel, historyOf(...lines), 1_000).linearizable).toBeUndefined();
});
