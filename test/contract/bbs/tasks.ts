// Tasks over the wire, where more than one caller takes part: who reads a definition, how a cell hears of a cancel, and what a late
// rejection does. Every call in every state is in ../conformance.
import { type Task, TaskDefinition } from "@muster/proto/models/task";
import { RecordKind } from "@muster/proto/muster/v1/watch";
import { decodeRecord } from "@muster/shared/codec";
import { collect, serverStream, unary } from "@muster/shared/rpc";
import { describe, expect, it } from "vitest";
import type { BbsClients } from "../../support/bbs.js";
import { fresh, outcome, Rep, refusal, type Subject } from "./fixtures.js";
import { follow } from "./watch.js";

const definition = TaskDefinition.fromPartial({
  rootFs: "preloaded:busybox",
  action: { runAction: { path: "/bin/true", user: "vcap" } },
  environmentVariables: [{ name: "PASSWORD", value: "secret" }],
});

export function describeTasks(subject: () => Subject): void {
  const as = () => subject().as;
  const desireTask = ({ bbs }: BbsClients, taskGuid: string): Promise<unknown> =>
    unary(bbs.desireTask.bind(bbs), { taskGuid, domain: "tasks", taskDefinition: definition });
  const taskOf = async ({ bbs }: BbsClients, taskGuid: string): Promise<Task | undefined> =>
    (await unary(bbs.taskByGuid.bind(bbs), { taskGuid })).task;
  const item = (report: Parameters<Rep["report"]>[0]["report"]) => ({
    actualLrpKey: undefined,
    actualLrpInstanceKey: undefined,
    report,
  });
  const started = (taskGuid: string) => item({ $case: "taskStarted", value: { taskGuid } });

  describe("a task", () => {
    it("is desired, started and completed; its definition is for its owner and the cell that runs it", async () => {
      const { controller, cell1, cell2 } = as();
      const guid = fresh("task");
      await desireTask(controller, guid);
      expect(await refusal(taskOf(cell1, guid))).toMatchObject({ type: "PermissionDenied" });
      using rep = new Rep(cell1, "cell-1");
      await rep.open();
      expect(await rep.report(started(guid), started(guid))).toMatchObject([{ shouldStart: true }, { shouldStart: false }]);
      expect((await taskOf(cell1, guid))?.taskDefinition?.environmentVariables).toEqual([{ name: "PASSWORD", value: "secret" }]);
      expect(await refusal(taskOf(cell2, guid))).toMatchObject({ type: "PermissionDenied" });
      expect(await refusal(taskOf(cell1, fresh("absent")))).toMatchObject({ type: "ResourceNotFound" });
      const value = { taskGuid: guid, failed: false, failureReason: "", result: "42" };
      await rep.report(item({ $case: "taskCompleted", value }));
      const { bbs } = controller;
      const ours = await collect(serverStream(bbs.tasks.bind(bbs), { domain: "tasks", cellId: "" }), (chunk) => chunk.tasks);
      expect(ours.filter((one) => one.taskGuid === guid)).toMatchObject([
        { state: 3, failed: false, result: "42", taskDefinition: { rootFs: "preloaded:busybox" } },
      ]);
      expect(await outcome(taskOf(cell1, guid))).toBe("PermissionDenied");
    });

    it("that is cancelled leaves its cell's watch at once, and the cell's next word of it is refused", async () => {
      const { controller, cell1 } = as();
      const guid = fresh("task");
      await desireTask(controller, guid);
      using rep = new Rep(cell1, "cell-1");
      await rep.open();
      await rep.report(started(guid));
      let cancelled: Promise<unknown> | undefined;
      const said = await follow(cell1, { kinds: [RecordKind.RECORD_KIND_TASK], cellId: "cell-1" }, (message) => {
        if (message.$case === "synced") {
          const { bbs } = controller;
          cancelled = unary(bbs.cancelTask.bind(bbs), { taskGuid: guid });
        }
        return message.$case === "commit";
      });
      await cancelled;
      const last = said.at(-1);
      const changes = last?.$case === "commit" ? last.value.changes : [];
      expect(changes.map(({ key, record }) => [key, record])).toEqual([[guid, undefined]]);
      expect(await rep.report(started(guid))).toMatchObject([{ errorType: "InvalidStateTransition" }]);
      expect(await taskOf(controller, guid)).toMatchObject({ state: 3, failed: true, failureReason: "task was cancelled" });
    });

    it("is not rejected on the word of an auctioneer that judged it before it moved (P4)", async () => {
      const { controller, auctioneer, operator } = as();
      const guid = fresh("task");
      await desireTask(controller, guid);
      const judged = async (): Promise<bigint> => {
        const said = await follow(operator, { kinds: [RecordKind.RECORD_KIND_TASK] }, (message) => message.$case === "synced");
        const records = said.flatMap((message) => (message.$case === "snapshot" ? message.value.changes : []));
        const record = records.find(({ key }) => key === guid)?.record;
        if (record === undefined) throw new Error("the task is not on the watch");
        return decodeRecord("task", record).changedAt;
      };
      const reject = ({ bbs }: BbsClients, sequence: bigint): Promise<unknown> =>
        unary(
          bbs.rejectTask.bind(bbs),
          { taskGuid: guid, rejectionReason: "no room" },
          { metadata: { "muster-auction-id": String(sequence) } },
        );
      const first = await judged();
      await reject(auctioneer, first);
      await reject(auctioneer, first);
      expect(await taskOf(controller, guid)).toMatchObject({ state: 1, rejectionCount: 1, rejectionReason: "no room" });
      const second = await judged();
      expect(second).toBeGreaterThan(first);
      await reject(auctioneer, second);
      expect(await taskOf(controller, guid)).toMatchObject({ rejectionCount: 2 });
    });
  });
}
