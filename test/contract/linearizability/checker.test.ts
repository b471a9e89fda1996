// The checker finds what it must, and lets pass what is right: histories written by hand, and drawn ones.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { countAnomalies } from "./anomalies.js";
import { checkHistory, type Model } from "./checker.js";
import { type Call, inOrder } from "./history.js";
import { type LRPOp, lrpModel } from "./lrp-model.js";
import { isTaskOp, judgeHistory, type Op } from "./ops.js";
import { type TaskOp, taskModel } from "./task-model.js";

/** `[from, to, op, result]`; without `to` nobody ever told. */
type Line = readonly [from: number, to: number | undefined, op: Op, result?: string];
const historyOf = (...lines: readonly Line[]) =>
  inOrder(
    lines.map(
      ([invokedMs, atMs, op, result = "ok"], client): Call<Op> => ({
        client,
        op,
        invokedMs,
        answer: atMs === undefined ? undefined : { atMs, result },
      }),
    ),
  );
const verdict = (...lines: readonly Line[]): boolean | undefined => {
  const kind = lines.some(([, , op]) => isTaskOp(op)) ? "task" : "lrp";
  return judgeHistory(kind, historyOf(...lines)).linearizable;
};

const desire = (annotation: string, instances = 1): Op => ({ do: "desire", instances, annotation });
const update = (annotation: string, instances?: number): Op => ({ do: "update", instances, annotation });
const read: Op = { do: "read" };
const rows: Op = { do: "readRows" };
const claim = (instance: string): Op => ({ do: "claim", instance });

const desireTask = (annotation: string): Op => ({ do: "desireTask", annotation });
const startTask = (cell: "cell-1" | "cell-2"): Op => ({ do: "startTask", cell });
const complete = (cell: "cell-1" | "cell-2", result: string): Op => ({ do: "completeTask", cell, result });
const cancel: Op = { do: "cancelTask" };
const resolve: Op = { do: "resolveTask" };
const del: Op = { do: "deleteTask" };
const readTask: Op = { do: "readTask" };
const listTask: Op = { do: "listTask" };

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

// --- drawn ones

const instanceNames = fc.constantFrom("i", "j");
const anyOp = (annotation: string): fc.Arbitrary<LRPOp> =>
  fc.oneof(
    fc.nat(2).map((instances): LRPOp => ({ do: "desire", instances, annotation })),
    fc.option(fc.nat(2), { nil: undefined }).map((instances): LRPOp => ({ do: "update", instances, annotation })),
    fc.constantFrom<LRPOp>({ do: "remove" }, { do: "read" }, { do: "readRows" }, { do: "retire" }),
    instanceNames.map((instance): LRPOp => ({ do: "claim", instance })),
    instanceNames.map((instance): LRPOp => ({ do: "start", instance })),
    instanceNames.map((instance): LRPOp => ({ do: "removeInstance", instance })),
  );

const cells = fc.constantFrom("cell-1" as const, "cell-2" as const);
const anyTaskOp = (annotation: string): fc.Arbitrary<TaskOp> =>
  fc.oneof(
    fc.constant<TaskOp>({ do: "desireTask", annotation }),
    cells.map((cell): TaskOp => ({ do: "startTask", cell })),
    cells.map((cell): TaskOp => ({ do: "completeTask", cell, result: annotation })),
    fc
      .constantFrom<TaskOp["do"]>("cancelTask", "resolveTask", "deleteTask", "readTask", "listTask")
      .map((kind) => ({ do: kind }) as TaskOp),
  );

/** What a right implementation might be seen to do: each call takes effect at an instant within its interval. */
const rightHistory = <State, Some extends Op>(model: Model<State, Some>, anyOf: (annotation: string) => fc.Arbitrary<Some>) =>
  fc
    .array(fc.record({ early: fc.nat(15), late: fc.nat(15), told: fc.integer({ min: 0, max: 9 }) }), { maxLength: 40 })
    .chain((shapes) => fc.tuple(...shapes.map((shape, n) => anyOf(`v${n}`).map((op) => ({ ...shape, op })))))
    .map((shapes) => {
      let state = model.initial;
      const calls = shapes.map(({ early, late, told, op }, n): Call<Some> => {
        const done = model.step(state, op);
        // One in ten answers is lost, and half of those calls with it.
        if (told !== 0 || late % 2 === 0) state = done.state;
        const answer = told === 0 ? undefined : { atMs: n * 10 + late + 0.5, result: done.result };
        return { client: n, op, invokedMs: n * 10 - early, answer };
      });
      return inOrder(calls);
    });

describe("whatever a right one does is found linearizable, without anomalies", () => {
  const holds = <State, Some extends Op>(model: Model<State, Some>, anyOf: (annotation: string) => fc.Arbitrary<Some>) =>
    fc.assert(
      fc.property(rightHistory(model, anyOf), (history) => {
        expect(checkHistory(model, history).linearizable).toBe(true);
        expect(countAnomalies(history, 0)).toEqual({ staleReads: 0, lostWrites: 0, inventedReads: 0 });
      }),
      { numRuns: 300 },
    );
  it("LRPs", () => holds(lrpModel, anyOp));
  it("tasks", () => holds(taskModel, anyTaskOp));
});

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
