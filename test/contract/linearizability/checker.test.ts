// The checker finds what it must, and lets pass what is right: histories written by hand, and drawn ones.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { countAnomalies } from "./anomalies.js";
import { checkHistory } from "./checker.js";
import { type Call, inOrder } from "./history.js";
import { lrpModel, type Op } from "./lrp-model.js";

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
const verdict = (...lines: readonly Line[]): boolean | undefined => checkHistory(lrpModel, historyOf(...lines)).linearizable;

const desire = (annotation: string, instances = 1): Op => ({ do: "desire", instances, annotation });
const update = (annotation: string, instances?: number): Op => ({ do: "update", instances, annotation });
const read: Op = { do: "read" };
const rows: Op = { do: "readRows" };
const claim = (instance: string): Op => ({ do: "claim", instance });

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
const anyOp = (annotation: string): fc.Arbitrary<Op> =>
  fc.oneof(
    fc.nat(2).map((instances) => desire(annotation, instances)),
    fc.option(fc.nat(2), { nil: undefined }).map((instances) => update(annotation, instances)),
    fc.constantFrom<Op>({ do: "remove" }, read, rows, { do: "retire" }),
    instanceNames.map(claim),
    instanceNames.map((instance): Op => ({ do: "start", instance })),
    instanceNames.map((instance): Op => ({ do: "removeInstance", instance })),
  );

/** What a right implementation might be seen to do: each call takes effect at an instant within its interval. */
const rightHistory = fc
  .array(fc.record({ early: fc.nat(15), late: fc.nat(15), told: fc.integer({ min: 0, max: 9 }) }), { maxLength: 40 })
  .chain((shapes) => fc.tuple(...shapes.map((shape, n) => anyOp(`v${n}`).map((op) => ({ ...shape, op })))))
  .map((shapes) => {
    let state = lrpModel.initial;
    const calls = shapes.map(({ early, late, told, op }, n): Call<Op> => {
      const done = lrpModel.step(state, op);
      // One in ten answers is lost, and half of those calls with it.
      if (told !== 0 || late % 2 === 0) state = done.state;
      const answer = told === 0 ? undefined : { atMs: n * 10 + late + 0.5, result: done.result };
      return { client: n, op, invokedMs: n * 10 - early, answer };
    });
    return inOrder(calls);
  });

it("whatever a right one does is found linearizable, without anomalies", () => {
  fc.assert(
    fc.property(rightHistory, (history) => {
      expect(checkHistory(lrpModel, history).linearizable).toBe(true);
      expect(countAnomalies(history, 0)).toEqual({ staleReads: 0, lostWrites: 0, inventedReads: 0 });
    }),
    { numRuns: 300 },
  );
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

  it("something there after an acknowledged removal, and what nobody wrote", () => {
    expect(count(9, [0, 1, desire("a")], [2, 3, { do: "remove" }], [4, 5, read, "1 a"])).toEqual({ ...none, staleReads: 1 });
    expect(count(9, [0, 1, desire("a")], [4, 5, read, "1 ghost"])).toEqual({ ...none, inventedReads: 1 });
  });
});
