// What a right implementation may be seen to do, drawn: the checker lets all of it pass, and no anomaly is counted.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { countAnomalies } from "./anomalies.js";
import { checkHistory, type Model } from "./checker.js";
import { type Call, inOrder } from "./history.js";
import { type LRPOp, lrpModel } from "./lrp-model.js";
import type { Op } from "./ops.js";
import { type TaskOp, taskModel } from "./task-model.js";

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
