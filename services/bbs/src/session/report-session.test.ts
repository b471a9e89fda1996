// What a cell reports, message by message, and what it is answered: evacuations, tasks, and inventories that hold both.
import { DesiredLRP as WireDesiredLRP } from "@muster/proto/models/desired_lrp";
import { TaskDefinition } from "@muster/proto/models/task";
import {
  ContainerReport,
  ContainerState,
  ReportItem,
  type ReportReply,
  type ReportRequest,
  type ReportResponse,
} from "@muster/proto/muster/v1/report";
import { fakeClock, seededEntropy } from "@muster/shared/clock";
import { actualLRPKeyToWire, instanceKeyToWire, netInfoToWire, runInfoBytes } from "@muster/shared/codec";
import { BbsError } from "@muster/shared/errors";
import { silentLog } from "@muster/shared/log";
import { asTaskGuid, put, type Task, type Write } from "@muster/shared/model";
import { task } from "@muster/shared/testing";
import { memoryStore, openMemoryStore } from "@muster/store/memory";
import { afterEach, describe, expect, it } from "vitest";
import { ActiveBbs } from "../active/active-bbs.js";
import {
  claimed,
  desired,
  fresh,
  instance,
  key,
  netInfo,
  processGuid,
  row,
  rows,
  rowsAsWords,
  running,
} from "../core/rows.test-support.js";
import { desireTask } from "../core/task.js";

const opened: ActiveBbs[] = [];
afterEach(() => {
  for (const active of opened.splice(0)) active.close(new BbsError("Unavailable"));
});

const cellId = instance("", "cell-1").cellId;
const keys = { actualLrpKey: actualLRPKeyToWire(key), actualLrpInstanceKey: instanceKeyToWire(instance("a", "cell-1")) };
const started = {
  actualLrpNetInfo: netInfoToWire(netInfo),
  actualLrpInternalRoutes: [{ hostname: "a.internal" }],
  metricTags: { tag: "value" },
  routable: true,
  availabilityZone: "z1",
};
const docker = put("featureFlag", { name: "diego_docker", enabled: true });

/** A cell that has said hello and shown an empty inventory, and a BBS that holds these records. */
async function cellWith(...writes: Write[]) {
  const clock = fakeClock();
  const store = await openMemoryStore(memoryStore(clock), { clock, faults: {} });
  const leadership = await store.campaign("bbs", "one", 10_000, new AbortController().signal);
  const active = await ActiveBbs.start({
    store,
    leadership,
    clock,
    entropy: seededEntropy("one"),
    log: silentLog(),
    secrets: { seal: (bytes) => bytes, open: (bytes) => bytes },
    metrics: { committed: () => undefined, resent: () => undefined },
    presenceTtlMs: 5_000,
    maxTaskRetries: 1,
    onLost: () => undefined,
  });
  opened.push(active);
  const said: ReportResponse[] = [];
  const session = active.openSession(
    cellId,
    (response) => said.push(response),
    () => undefined,
  );
  const send = (message: ReportRequest["message"]): Promise<void> => session.receive({ message });
  const presence = {
    cellId: "cell-1",
    repAddress: "127.0.0.1:1",
    zone: "z1",
    capacity: { memoryMb: 1_024, diskMb: 1_024, containers: 10 },
    rootfsProviders: [],
    placementTags: [],
    optionalPlacementTags: [],
    repUrl: "",
    annotations: {},
  };
  const inventory = (...containers: Partial<ContainerReport>[]): Promise<void> =>
    send({
      $case: "inventory",
      value: { containers: containers.map((container) => ContainerReport.fromPartial(container)), last: true },
    });
  const report = async (items: Partial<ReportItem>[]): Promise<Partial<ReportReply>[]> => {
    const known = said.length;
    await send({
      $case: "batch",
      value: { items: items.map((item, at) => ReportItem.fromPartial({ id: BigInt(at), ...item })) },
    });
    const replies = said.slice(known).flatMap(({ message }) => (message?.$case === "replies" ? message.value.replies : []));
    expect(replies.map(({ id }) => Number(id))).toEqual(items.map((_item, at) => at));
    return replies.map(({ errorType, errorMessage, keepContainer, shouldStart, desiredLrp }) => ({
      ...(errorType === "" ? {} : { errorType, errorMessage }),
      ...(keepContainer ? { keepContainer } : {}),
      ...(shouldStart ? { shouldStart } : {}),
      ...(desiredLrp.byteLength > 0 ? { desiredLrp } : {}),
    }));
  };
  await send({ $case: "hello", value: { presence, owner: "owner", ttlMs: 5_000, evacuating: false } });
  await inventory();
  active.state.tables.applyAll(writes);
  return { active, inventory, report, task: () => active.state.tables.task(asTaskGuid("t")) };
}

const runsHere = (fields: Partial<Task> = {}) => put("task", task({ state: "RUNNING", cellId, ...fields }));

describe("evacuation on the session", () => {
  const wanted = [desired(), fresh];
  it.each([
    {
      what: "a running container",
      before: rows(running("a", "cell-1")),
      report: { $case: "evacuateRunning" as const, value: { started } },
      says: { keepContainer: true },
      after: ["ORDINARY UNCLAIMED", "EVACUATING RUNNING a@cell-1"],
    },
    {
      what: "a running container without its address",
      before: rows(running("a", "cell-1")),
      report: { $case: "evacuateRunning" as const, value: { started: undefined } },
      says: { errorType: "InvalidRequest", errorMessage: "Invalid field: actual_lrp_net_info", keepContainer: true },
      after: ["ORDINARY RUNNING a@cell-1"],
    },
    {
      what: "a claimed container",
      before: rows(claimed("a", "cell-1")),
      report: { $case: "evacuateClaimed" as const, value: {} },
      says: {},
      after: ["ORDINARY UNCLAIMED"],
    },
    {
      what: "a claimed container without a row",
      before: rows(row()),
      report: { $case: "evacuateClaimed" as const, value: {} },
      says: { errorType: "ResourceNotFound", errorMessage: "the requested resource could not be found" },
      after: ["ORDINARY UNCLAIMED"],
    },
    {
      what: "a stopped container",
      before: rows(running("a", "cell-1", { stopMarked: true })),
      report: { $case: "evacuateStopped" as const, value: {} },
      says: {},
      after: [],
    },
    {
      what: "a crashed container",
      before: rows(running("a", "cell-1", { crashCount: 2 })),
      report: { $case: "evacuateCrashed" as const, value: { errorMessage: "exited" } },
      says: {},
      after: ["ORDINARY CRASHED"],
    },
    {
      what: "an Evacuating row without a container",
      before: rows(row(), running("a", "cell-1", { presence: "EVACUATING" })),
      report: { $case: "removeEvacuating" as const, value: {} },
      says: {},
      after: ["ORDINARY UNCLAIMED"],
    },
    {
      what: "an evacuation taken back",
      before: rows(row(), running("a", "cell-1", { presence: "EVACUATING" })),
      report: { $case: "cancelEvacuation" as const, value: {} },
      says: { keepContainer: true },
      after: ["ORDINARY RUNNING a@cell-1"],
    },
  ])("$what", async ({ before, report, says, after }) => {
    const cell = await cellWith(...wanted, ...before);
    expect(await cell.report([{ ...keys, report }])).toEqual([says]);
    expect(rowsAsWords(cell.active.state)).toEqual(after);
  });

  it("no cell speaks for another's instance", async () => {
    const cell = await cellWith(...wanted, ...rows(running("b", "cell-2")));
    const other = { ...keys, actualLrpInstanceKey: instanceKeyToWire(instance("b", "cell-2")) };
    const [reply] = await cell.report([{ ...other, report: { $case: "evacuateStopped", value: {} } }]);
    expect(reply?.errorType).toBe("PermissionDenied");
    expect(rowsAsWords(cell.active.state)).toEqual(["ORDINARY RUNNING b@cell-2"]);
  });
});

describe("a claim on the session", () => {
  const runInfo = (bytes: number): Write => {
    const environmentVariables = [{ name: "ABOUT", value: "x".repeat(bytes) }];
    const sealed = runInfoBytes(WireDesiredLRP.fromPartial({ processGuid, environmentVariables }));
    return put("runInfo", { processGuid, sealed: sealed as never });
  };
  const claim = { ...keys, report: { $case: "claimed" as const, value: {} } };
  const claimOf = (guid: string, index: number) => ({
    ...claim,
    actualLrpKey: { ...keys.actualLrpKey, index },
    actualLrpInstanceKey: instanceKeyToWire(instance(guid, "cell-1")),
  });

  it("brings what to run, as a read of it would", async () => {
    const cell = await cellWith(desired({ rootFs: "preloaded:app" }), fresh, ...rows(row()), runInfo(10));
    const [reply] = await cell.report([claim]);
    expect(WireDesiredLRP.decode(reply?.desiredLrp ?? new Uint8Array())).toMatchObject({
      processGuid,
      rootFs: "preloaded:app",
      environmentVariables: [{ name: "ABOUT", value: "xxxxxxxxxx" }],
    });
    const anew = desired({ rootFs: "preloaded:app", routes: new Map([["router", Buffer.from("[1]")]]) });
    cell.active.state.tables.applyAll([anew]);
    const [again] = await cell.report([claim]);
    expect(WireDesiredLRP.decode(again?.desiredLrp ?? new Uint8Array()).routes?.routes).toEqual({ router: Buffer.from("[1]") });
  });

  it("that is refused brings nothing", async () => {
    const cell = await cellWith(desired(), fresh, ...rows(running("b", "cell-2")), runInfo(10));
    expect(await cell.report([claim])).toEqual([
      { errorType: "ActualLRPCannotBeClaimed", errorMessage: "cannot claim actual LRP" },
    ]);
  });

  it("of what nobody can read brings nothing", async () => {
    const cell = await cellWith(desired(), fresh, ...rows(row()));
    cell.active.state.tables.applyAll([put("runInfo", { processGuid, sealed: Buffer.from([255]) as never })]);
    expect(await cell.report([claim])).toEqual([{}]);
  });

  it("leaves out what one message has no room for", async () => {
    const cell = await cellWith(desired({ instances: 3 }), fresh, runInfo(400_000));
    cell.active.state.tables.applyAll(rows(row(), row({ index: 1 }), row({ index: 2 })));
    const replies = await cell.report([claimOf("a", 0), claimOf("b", 1), claimOf("c", 2)]);
    expect(replies.map(({ errorType, desiredLrp }) => [errorType, (desiredLrp?.byteLength ?? 0) > 400_000])).toEqual([
      [undefined, true],
      [undefined, true],
      [undefined, false],
    ]);
  });
});

describe("keys on the session", () => {
  const { actualLrpKey, actualLrpInstanceKey } = keys;
  it.each([
    { says: "process_guid", wrong: { actualLrpKey: { ...actualLrpKey, processGuid: "p".repeat(256) } } },
    { says: "index", wrong: { actualLrpKey: { ...actualLrpKey, index: -1 } } },
    { says: "domain", wrong: { actualLrpKey: { ...actualLrpKey, domain: "" } } },
    { says: "instance_guid", wrong: { actualLrpInstanceKey: { ...actualLrpInstanceKey, instanceGuid: "i".repeat(256) } } },
    { says: "actual_lrp_key", wrong: { actualLrpKey: undefined } },
  ])("are held to what the unary calls hold them to: $says", async ({ says, wrong }) => {
    // Nobody vouches for the domain: a start of what is not known would make a row (rule W2).
    const cell = await cellWith();
    const [reply] = await cell.report([{ ...keys, ...wrong, report: { $case: "started", value: started } }]);
    expect(reply).toMatchObject({ errorType: "InvalidRequest", errorMessage: expect.stringContaining(says) });
    expect(rowsAsWords(cell.active.state)).toEqual([]);
  });
});

describe("tasks on the session", () => {
  it("a task is started once, and completed by the cell that runs it", async () => {
    const cell = await cellWith(put("task", task()));
    const start = { report: { $case: "taskStarted" as const, value: { taskGuid: "t" } } };
    expect(await cell.report([start, start])).toEqual([{ shouldStart: true }, {}]);
    expect(cell.task()).toMatchObject({ state: "RUNNING", cellId: "cell-1" });
    const value = { taskGuid: "t", failed: false, failureReason: "", result: "done" };
    const complete = { report: { $case: "taskCompleted" as const, value } };
    expect(await cell.report([complete, complete])).toEqual([
      {},
      { errorType: "InvalidStateTransition", errorMessage: "Cannot transition from Completed to Completed" },
    ]);
    expect(cell.task()).toMatchObject({ state: "COMPLETED", result: "done", failed: false });
  });

  it("a task given back too often fails", async () => {
    const cell = await cellWith(runsHere());
    const reject = { report: { $case: "taskRejected" as const, value: { taskGuid: "t", rejectionReason: "no disk" } } };
    expect(await cell.report([reject])).toEqual([{}]);
    expect(cell.task()).toMatchObject({ state: "PENDING", rejectionCount: 1 });
    expect(await cell.report([{ report: { $case: "taskStarted", value: { taskGuid: "t" } } }, reject])).toEqual([
      { shouldStart: true },
      {},
    ]);
    expect(cell.task()).toMatchObject({ state: "COMPLETED", failed: true, failureReason: "no disk" });
  });

  it("the container of a task that was cancelled is told so when it reports (R3)", async () => {
    const cell = await cellWith(put("task", task({ state: "COMPLETED", failed: true, failureReason: "task was cancelled" })));
    const [reply] = await cell.report([{ report: { $case: "taskStarted", value: { taskGuid: "t" } } }]);
    expect(reply).toEqual({ errorType: "InvalidStateTransition", errorMessage: "Cannot transition from Completed to Running" });
    const [gone] = await cell.report([{ report: { $case: "taskStarted", value: { taskGuid: "unknown" } } }]);
    expect(gone?.errorType).toBe("ResourceNotFound");
  });

  it.each([
    { what: "no guid", report: { $case: "taskStarted" as const, value: { taskGuid: "" } } },
    { what: "no reason", report: { $case: "taskRejected" as const, value: { taskGuid: "t", rejectionReason: "" } } },
    { what: "nothing at all", report: undefined },
  ])("an item with $what is invalid", async ({ report }) => {
    const cell = await cellWith(runsHere());
    expect((await cell.report([{ report }]))[0]?.errorType).toBe("InvalidRequest");
    expect(cell.task()?.state).toBe("RUNNING");
  });

  it("a task's last change names its commit, which the auctioneer's answer is compared with (P1)", async () => {
    const cell = await cellWith(docker);
    const definition = TaskDefinition.fromPartial({ rootFs: "docker:///x" });
    const desires = ["one", "two"].map((taskGuid) =>
      cell.active.journal.submit(desireTask({ taskGuid, domain: "d", definition })),
    );
    await Promise.all(desires);
    const { sequence } = cell.active.journal.head;
    const changed = (guid: string) => cell.active.state.tables.task(asTaskGuid(guid))?.changedAt;
    expect([changed("one"), changed("two")]).toEqual([sequence, sequence]);
    await cell.report([{ report: { $case: "taskStarted", value: { taskGuid: "one" } } }]);
    expect([changed("one"), changed("two")]).toEqual([sequence + 1n, sequence]);
  });
});

describe("an inventory", () => {
  it("ends the RUNNING tasks of the cell that are not in it, and no others (R3)", async () => {
    const elsewhere = instance("", "cell-2").cellId;
    const cell = await cellWith(
      runsHere(),
      runsHere({ taskGuid: asTaskGuid("held") }),
      runsHere({ taskGuid: asTaskGuid("elsewhere"), cellId: elsewhere }),
      put("task", task({ taskGuid: asTaskGuid("given-back"), cellId })),
    );
    await cell.inventory({ taskGuid: "held", state: ContainerState.CONTAINER_STATE_RUNNING });
    expect([...cell.active.state.tables.tasks.values()].map((one) => `${one.taskGuid} ${one.state}`).sort()).toEqual([
      "elsewhere RUNNING",
      "given-back PENDING",
      "held RUNNING",
      "t COMPLETED",
    ]);
    expect(cell.task()).toMatchObject({ failed: true, failureReason: "task container does not exist" });
  });

  it("starts a claimed row with the routes and tags that its container has", async () => {
    const cell = await cellWith(desired(), ...rows(claimed("a", "cell-1")));
    const { availabilityZone: _zone, ...container } = started;
    await cell.inventory({ ...keys, ...container, state: ContainerState.CONTAINER_STATE_RUNNING });
    expect(cell.active.state.tables.rows(processGuid, 0).ORDINARY).toMatchObject({
      state: "RUNNING",
      internalRoutes: ["a.internal"],
      metricTags: new Map([["tag", "value"]]),
      availabilityZone: "z1",
    });
  });

  it.each([
    { held: true, after: ["ORDINARY UNCLAIMED", "EVACUATING RUNNING a@cell-1"] },
    { held: false, after: ["ORDINARY UNCLAIMED"] },
  ])("with the evacuated container in it ($held) leaves $after", async ({ held, after }) => {
    const cell = await cellWith(desired(), ...rows(row(), running("a", "cell-1", { presence: "EVACUATING" })));
    const { availabilityZone: _zone, ...container } = started;
    await cell.inventory(...(held ? [{ ...keys, ...container, state: ContainerState.CONTAINER_STATE_RUNNING }] : []));
    expect(rowsAsWords(cell.active.state)).toEqual(after);
  });
});
