// Every row of the reference's table of events (bbs-semantics.md 4.5), and what whole commands tell (sections 3-7).
import {
  type ActualLRP,
  asCellId,
  asEpochNs,
  asTaskGuid,
  type Change,
  drop,
  put,
  type Tables,
  type Task,
  type Write,
} from "@muster/shared/model";
import { cell, t0 } from "@muster/shared/testing";
import { describe, expect, it } from "vitest";
import {
  claimActualLRP,
  crashActualLRP,
  failActualLRP,
  removeActualLRP,
  retireActualLRP,
  startActualLRP,
} from "../core/actual-lrp.js";
import type { Command, CoreState } from "../core/decision.js";
import { removeDesiredLRP, updateDesiredLRP } from "../core/desired-lrp.js";
import { decideInventoryKey } from "../core/inventory.js";
import { applyRepair } from "../core/repairs.js";
import {
  claimed,
  contextAt,
  desired,
  fresh,
  instance,
  key,
  netInfo,
  processGuid,
  row,
  rows,
  running,
  stateWith,
} from "../core/rows.test-support.js";
import { concernsCell, type DerivedEvent, deriveEvents } from "./derive.js";
import type { Group } from "./group.js";
import { takeNote } from "./note.js";

const everything = { desired: true, instances: true, tasks: true };
const noHints = { traceId: "", crashed: false };

/** The events of a command given by its writes. */
function told(tables: Tables, writes: readonly Write[], hints = noHints): DerivedEvent[] {
  const changes: Change[] = tables.applyAll(writes);
  return deriveEvents(takeNote(tables, changes, hints, everything));
}

const word = (one: ActualLRP): string =>
  [
    one.presence === "ORDINARY" ? "" : one.presence,
    one.state,
    one.instanceKey === undefined ? "" : `${one.instanceKey.instanceGuid}@${one.instanceKey.cellId}`,
  ]
    .filter((part) => part !== "")
    .join(" ");

const groupWord = ({ instance: place, evacuating }: Group): string =>
  [place, evacuating].map((one) => (one === undefined ? "-" : word(one))).join(" / ");

/** An event in a line: `instance created UNCLAIMED`, `group changed UNCLAIMED / - -> CLAIMED a@cell-1 / -`. */
function line(derived: DerivedEvent): string {
  const { hub, event } = derived;
  if (hub === "desired") return `desired ${event.kind}`;
  if (hub === "task")
    return event.kind === "changed" ? `task ${event.before.record.state} -> ${event.after.record.state}` : `task ${event.kind}`;
  if (event.kind === "crashed") return `${hub} crashed ${word(event.before)} #${event.after.crashCount}`;
  if (hub === "group") {
    const { event: of } = derived;
    return of.kind === "changed"
      ? `group changed ${groupWord(of.before)} -> ${groupWord(of.after)}`
      : of.kind === "crashed"
        ? ""
        : `group ${of.kind} ${groupWord(of.group)}`;
  }
  const { event: of } = derived as Extract<DerivedEvent, { hub: "instance" }>;
  return of.kind === "changed"
    ? `instance changed ${word(of.before)} -> ${word(of.after)}`
    : of.kind === "crashed"
      ? ""
      : `instance ${of.kind} ${word(of.row)}`;
}

const only = (hub: DerivedEvent["hub"], events: readonly DerivedEvent[]): string[] =>
  events.filter((event) => event.hub === hub).map((event) => line(event).slice(hub.length + 1));

const tag = (index: number, epoch = "row") => ({ modificationTag: { epoch, index } });
const crashedRow = row({ state: "CRASHED", crashCount: 3, crashReason: "exit 1", ...tag(5) });

describe("the table of 4.5, row by row", () => {
  it.each<{
    name: string;
    before: ActualLRP[];
    after: ActualLRP[];
    crashed?: boolean;
    instance: string[];
    group: string[];
  }>([
    {
      name: "none -> row",
      before: [],
      after: [row()],
      instance: ["created UNCLAIMED"],
      group: ["created UNCLAIMED / -"],
    },
    {
      name: "row -> none",
      before: [running("a", "cell-1")],
      after: [],
      instance: ["removed RUNNING a@cell-1"],
      group: ["removed RUNNING a@cell-1 / -"],
    },
    {
      name: "UNCLAIMED -> UNCLAIMED, a placement error",
      before: [row()],
      after: [row({ placementError: "no room", ...tag(1) })],
      instance: ["changed UNCLAIMED -> UNCLAIMED"],
      group: ["changed UNCLAIMED / - -> UNCLAIMED / -"],
    },
    {
      name: "CLAIMED -> UNCLAIMED",
      before: [claimed("a", "cell-1")],
      after: [row(tag(1))],
      instance: ["created UNCLAIMED", "removed CLAIMED a@cell-1"],
      group: ["changed CLAIMED a@cell-1 / - -> UNCLAIMED / -"],
    },
    {
      name: "CRASHED -> UNCLAIMED",
      before: [crashedRow],
      after: [row({ crashCount: 3, ...tag(6) })],
      instance: ["created UNCLAIMED", "removed CRASHED"],
      group: ["changed CRASHED / - -> UNCLAIMED / -"],
    },
    {
      name: "UNCLAIMED -> CLAIMED",
      before: [row()],
      after: [claimed("a", "cell-1", tag(1))],
      instance: ["changed UNCLAIMED -> CLAIMED a@cell-1"],
      group: ["changed UNCLAIMED / - -> CLAIMED a@cell-1 / -"],
    },
    {
      name: "CLAIMED -> RUNNING",
      before: [claimed("a", "cell-1")],
      after: [running("a", "cell-1", tag(1))],
      instance: ["changed CLAIMED a@cell-1 -> RUNNING a@cell-1"],
      group: ["changed CLAIMED a@cell-1 / - -> RUNNING a@cell-1 / -"],
    },
    {
      name: "CLAIMED -> RUNNING of another instance",
      before: [claimed("a", "cell-1")],
      after: [running("b", "cell-2", tag(1))],
      instance: ["changed CLAIMED a@cell-1 -> RUNNING b@cell-2"],
      group: ["created RUNNING b@cell-2 / -", "removed CLAIMED a@cell-1 / -"],
    },
    {
      name: "a change of presence with the state kept",
      before: [running("a", "cell-1")],
      after: [running("a", "cell-1", { presence: "SUSPECT" })],
      instance: ["changed RUNNING a@cell-1 -> SUSPECT RUNNING a@cell-1"],
      group: [],
    },
    {
      name: "RUNNING -> CRASHED",
      before: [running("a", "cell-1")],
      after: [crashedRow],
      crashed: true,
      instance: ["crashed RUNNING a@cell-1 #3", "changed RUNNING a@cell-1 -> CRASHED"],
      group: ["crashed RUNNING a@cell-1 #3", "changed RUNNING a@cell-1 / - -> CRASHED / -"],
    },
    {
      name: "RUNNING -> CRASHED without a crash report (evacuation)",
      before: [running("a", "cell-1")],
      after: [crashedRow],
      instance: ["crashed RUNNING a@cell-1 #3", "changed RUNNING a@cell-1 -> CRASHED"],
      group: ["crashed RUNNING a@cell-1 #3", "changed RUNNING a@cell-1 / - -> CRASHED / -"],
    },
    {
      name: "a crash report that ends UNCLAIMED",
      before: [running("a", "cell-1")],
      after: [row({ crashCount: 1, ...tag(1) })],
      crashed: true,
      instance: ["crashed RUNNING a@cell-1 #1", "created UNCLAIMED", "removed RUNNING a@cell-1"],
      group: ["crashed RUNNING a@cell-1 #1", "changed RUNNING a@cell-1 / - -> UNCLAIMED / -"],
    },
    {
      name: "a crash while evacuating that ends UNCLAIMED",
      before: [running("a", "cell-1")],
      after: [row({ crashCount: 1, ...tag(1) })],
      instance: ["created UNCLAIMED", "removed RUNNING a@cell-1"],
      group: ["changed RUNNING a@cell-1 / - -> UNCLAIMED / -"],
    },
    {
      name: "a crash report shows whole groups",
      before: [running("a", "cell-1"), running("e", "cell-2", { presence: "EVACUATING" })],
      after: [row({ crashCount: 1, ...tag(1) }), running("e", "cell-2", { presence: "EVACUATING" })],
      crashed: true,
      instance: ["crashed RUNNING a@cell-1 #1", "created UNCLAIMED", "removed RUNNING a@cell-1"],
      group: [
        "crashed RUNNING a@cell-1 #1",
        "changed RUNNING a@cell-1 / EVACUATING RUNNING e@cell-2 -> UNCLAIMED / EVACUATING RUNNING e@cell-2",
      ],
    },
    {
      name: "unchanged but for Muster's own marks",
      before: [running("a", "cell-1")],
      after: [running("a", "cell-1", { stopMarked: true, updateMarked: true })],
      instance: [],
      group: [],
    },
    {
      name: "the row of an index that was restarted before it ran: another row in its place",
      before: [row()],
      after: [row(tag(0, "fresh"))],
      instance: ["removed UNCLAIMED", "created UNCLAIMED"],
      group: ["changed UNCLAIMED / - -> UNCLAIMED / -"],
    },
    {
      name: "the Suspect stands for the group: its replacement comes and goes unseen",
      before: [running("s", "cell-1", { presence: "SUSPECT" }), row(tag(0, "new"))],
      after: [running("s", "cell-1", { presence: "SUSPECT" }), claimed("b", "cell-2", tag(1, "new"))],
      instance: ["changed UNCLAIMED -> CLAIMED b@cell-2"],
      group: [],
    },
    {
      name: "the replacement of a Suspect runs: told before the Suspect goes",
      before: [running("s", "cell-1", { presence: "SUSPECT" }), claimed("b", "cell-2", tag(1, "new"))],
      after: [running("b", "cell-2", tag(2, "new"))],
      instance: ["changed CLAIMED b@cell-2 -> RUNNING b@cell-2", "removed SUSPECT RUNNING s@cell-1"],
      group: ["created RUNNING b@cell-2 / -", "removed SUSPECT RUNNING s@cell-1 / -"],
    },
    {
      name: "EvacuateRunning (5, rule 12)",
      before: [running("a", "cell-1")],
      after: [running("a", "cell-1", { presence: "EVACUATING", ...tag(0, "copy") }), row(tag(1))],
      instance: ["changed RUNNING a@cell-1 -> EVACUATING RUNNING a@cell-1", "created UNCLAIMED"],
      group: ["created - / EVACUATING RUNNING a@cell-1", "changed RUNNING a@cell-1 / - -> UNCLAIMED / -"],
    },
    {
      name: "EvacuateRunning of a Suspect (5, rule 13)",
      before: [running("s", "cell-1", { presence: "SUSPECT" }), row(tag(0, "new"))],
      after: [running("s", "cell-1", { presence: "EVACUATING", ...tag(0, "copy") }), row(tag(0, "new"))],
      instance: ["changed SUSPECT RUNNING s@cell-1 -> EVACUATING RUNNING s@cell-1"],
      group: ["created - / EVACUATING RUNNING s@cell-1", "changed SUSPECT RUNNING s@cell-1 / - -> UNCLAIMED / -"],
    },
    {
      name: "a cancelled evacuation (rule E3)",
      before: [running("a", "cell-1", { presence: "EVACUATING" }), claimed("b", "cell-2", tag(1, "new"))],
      after: [running("a", "cell-1", tag(2, "new"))],
      instance: ["changed EVACUATING RUNNING a@cell-1 -> RUNNING a@cell-1", "removed CLAIMED b@cell-2"],
      group: ["created RUNNING a@cell-1 / -", "removed CLAIMED b@cell-2 / -", "removed - / EVACUATING RUNNING a@cell-1"],
    },
  ])("$name", ({ before, after, crashed = false, instance: instances, group }) => {
    const { tables } = stateWith(...rows(...before));
    const kept = new Set(after.map((one) => one.presence));
    const writes = [
      ...before.filter((one) => !kept.has(one.presence)).map((one) => drop("actualLRP", one)),
      ...after.map((one) => put("actualLRP", one)),
    ];
    const events = told(tables, writes, { traceId: "", crashed });
    expect(only("instance", events)).toEqual(instances);
    expect(only("group", events)).toEqual(group);
  });
});

describe("what an event carries", () => {
  it("a changed event names the instance after, else the one before; its trace id is the call's", () => {
    const { tables } = stateWith(...rows(running("a", "cell-1")));
    const [, event] = told(tables, rows(crashedRow), { traceId: "t", crashed: true }).filter(({ hub }) => hub === "instance");
    expect(event).toMatchObject({ event: { kind: "changed", traceId: "t" } });
    expect(event && concernsCell(event, "cell-1")).toBe(true);
    expect(event && concernsCell(event, "cell-2")).toBe(false);
  });

  it("a crash is the instance's before, with the count, reason and time after", () => {
    const { tables } = stateWith(...rows(running("a", "cell-1")));
    const [event] = told(tables, rows(crashedRow), { traceId: "", crashed: true }).filter(({ hub }) => hub === "instance");
    expect(event).toMatchObject({
      event: { kind: "crashed", before: { instanceKey: instance("a", "cell-1") }, after: crashedRow },
    });
  });
});

describe("the cell filter", () => {
  const cells = (events: readonly DerivedEvent[], hub: DerivedEvent["hub"], cellId: string): string[] =>
    only(
      hub,
      events.filter((event) => concernsCell(event, cellId)),
    );

  it("takes created and removed by the row's cell, changed by the event's own key", () => {
    const { tables } = stateWith(...rows(claimed("a", "cell-1")));
    const events = told(tables, rows(running("b", "cell-2", tag(1))));
    expect(cells(events, "instance", "cell-1")).toEqual([]);
    expect(cells(events, "instance", "cell-2")).toEqual(["changed CLAIMED a@cell-1 -> RUNNING b@cell-2"]);
    const unclaimed = told(tables, rows(row(tag(2))));
    expect(cells(unclaimed, "instance", "cell-2")).toEqual(["removed RUNNING b@cell-2"]);
  });

  it("takes a group's change by the resolved row before or after", () => {
    const { tables } = stateWith(...rows(claimed("a", "cell-1")));
    const events = told(tables, rows(row(tag(1))));
    expect(cells(events, "group", "cell-1")).toEqual(["changed CLAIMED a@cell-1 / - -> UNCLAIMED / -"]);
    expect(cells(events, "group", "cell-2")).toEqual([]);
  });

  it("never holds back what happens to a DesiredLRP", () => {
    const events = told(stateWith().tables, [desired()]);
    expect(cells(events, "desired", "cell-9")).toEqual(["created"]);
  });
});

describe("whole commands", () => {
  const commanded = <Reply>(state: CoreState, command: Command<Reply>, traceId = ""): DerivedEvent[] => {
    const decision = command(state, contextAt());
    return told(state.tables, decision.writes, { traceId, crashed: decision.crashed === true });
  };
  const start = (guid: string, cellId: string) =>
    startActualLRP({
      key,
      instanceKey: instance(guid, cellId),
      netInfo,
      internalRoutes: [],
      metricTags: new Map(),
      routable: true,
      availabilityZone: "",
    });
  const here = (guid: string, cellId: string) => ({ processGuid, index: 0, instanceKey: instance(guid, cellId) });

  it("an instance's life, as the acceptance suites follow it", () => {
    const state = stateWith(desired(), fresh, ...rows(row()));
    const lines = [
      ...only("instance", commanded(state, claimActualLRP(here("a", "cell-1")))),
      ...only("instance", commanded(state, start("a", "cell-1"))),
      ...only("instance", commanded(state, start("a", "cell-1"))),
      ...only("instance", commanded(state, crashActualLRP({ key, instanceKey: instance("a", "cell-1"), reason: "x" }))),
      ...only("instance", commanded(state, failActualLRP({ key, message: "no room", auctionId: undefined }))),
    ];
    expect(lines).toEqual([
      "changed UNCLAIMED -> CLAIMED a@cell-1",
      "changed CLAIMED a@cell-1 -> RUNNING a@cell-1",
      "crashed RUNNING a@cell-1 #1",
      "created UNCLAIMED",
      "removed RUNNING a@cell-1",
      "changed UNCLAIMED -> UNCLAIMED",
    ]);
  });

  it("a Start tells RUNNING before the copies it ends", () => {
    const state = stateWith(
      desired(),
      fresh,
      ...rows(
        claimed("b", "cell-2"),
        running("e", "cell-1", { presence: "EVACUATING" }),
        running("s", "cell-3", { presence: "SUSPECT" }),
      ),
    );
    expect(only("instance", commanded(state, start("b", "cell-2")))).toEqual([
      "changed CLAIMED b@cell-2 -> RUNNING b@cell-2",
      "removed EVACUATING RUNNING e@cell-1",
      "removed SUSPECT RUNNING s@cell-3",
    ]);
  });

  it("a retire of a running instance tells nothing yet: nothing happened yet", () => {
    const state = stateWith(desired(), fresh, ...rows(running("a", "cell-1")));
    expect(commanded(state, retireActualLRP(key))).toEqual([]);
  });

  it("a removal of a wanted instance tells the new row before the old one goes", () => {
    const state = stateWith(desired(), fresh, ...rows(running("a", "cell-1")));
    expect(only("instance", commanded(state, removeActualLRP(here("a", "cell-1"))))).toEqual([
      "created UNCLAIMED",
      "removed RUNNING a@cell-1",
    ]);
  });

  it("an update tells the definition before and after, a removal its rows too", () => {
    const state = stateWith(desired({ instances: 1 }), fresh, ...rows(row()));
    const scaled = { instances: 2, annotation: undefined };
    const update = {
      optionalInstances: { $case: "instances" as const, value: scaled.instances },
      optionalAnnotation: undefined,
      routes: undefined,
      metricTags: {},
      optionalImageUsername: undefined,
      optionalImagePassword: undefined,
    };
    const updated = commanded(state, updateDesiredLRP(processGuid, update), "t");
    expect(updated.map(line)).toEqual(["desired changed", "group created UNCLAIMED / -", "instance created UNCLAIMED"]);
    expect(updated[0]).toMatchObject({
      event: { before: { record: { instances: 1 } }, after: { record: { instances: 2 } }, traceId: "t" },
    });
    expect(commanded(state, removeDesiredLRP(processGuid)).map(line)).toEqual([
      "desired removed",
      "group removed UNCLAIMED / -",
      "instance removed UNCLAIMED",
      "group removed UNCLAIMED / -",
      "instance removed UNCLAIMED",
    ]);
  });

  it("a lost cell is told on the instance stream alone", () => {
    const lost = put("cell", cell({ cellId: asCellId("cell-1"), lostAtMs: t0 }));
    const state = stateWith(desired(), fresh, lost, ...rows(running("a", "cell-1")));
    const repair = { rule: "cell-lost" as const, processGuid, index: 0, presence: "ORDINARY" as const, name: "" };
    const events = commanded(state, applyRepair(repair as never));
    expect(events.map(line)).toEqual([
      "instance changed RUNNING a@cell-1 -> SUSPECT RUNNING a@cell-1",
      "instance created UNCLAIMED",
    ]);
  });

  it("a cell that is back: the instance is itself again, its replacement gone on both streams", () => {
    const state = stateWith(
      desired(),
      fresh,
      ...rows(running("s", "cell-1", { presence: "SUSPECT" }), claimed("b", "cell-2", tag(1, "new"))),
    );
    const containers = [{ instanceGuid: "s", state: "RUNNING" as const, started: undefined }];
    const events = commanded(state, decideInventoryKey({ cellId: asCellId("cell-1"), processGuid, index: 0, containers }));
    expect(events.map(line)).toEqual([
      "group removed CLAIMED b@cell-2 / -",
      "instance changed SUSPECT RUNNING s@cell-1 -> RUNNING s@cell-1",
      "instance removed CLAIMED b@cell-2",
    ]);
  });
});

describe("tasks", () => {
  const task: Task = {
    taskGuid: asTaskGuid("t"),
    domain: key.domain,
    createdAtNs: asEpochNs(1n),
    updatedAtNs: asEpochNs(1n),
    firstCompletedAtNs: asEpochNs(0n),
    state: "PENDING",
    cellId: undefined,
    result: "",
    failed: false,
    failureReason: "",
    rejectionCount: 0,
    rejectionReason: "",
    rootFs: "preloaded:busybox",
    memoryMb: 1,
    diskMb: 1,
    maxPids: 0,
    placementTags: [],
    volumeDrivers: [],
    completionCallbackUrl: "",
    annotation: "",
    changedAt: 1n,
  };
  const sealed = (byte: number) => put("taskDefinition", { taskGuid: task.taskGuid, sealed: Uint8Array.of(byte) });

  it("are created, changed and removed; a commit that changes nothing they show is nobody's business", () => {
    const { tables } = stateWith();
    const runningTask: Task = { ...task, state: "RUNNING", cellId: asCellId("cell-1"), changedAt: 2n };
    const lines = [
      [put("task", task), sealed(1)],
      [put("task", runningTask)],
      [put("task", { ...runningTask, changedAt: 3n })],
      [drop("task", task), { kind: "taskDefinition", key: task.taskGuid, record: undefined } as Write],
    ].flatMap((writes) => told(tables, writes).map(line));
    expect(lines).toEqual(["task created", "task PENDING -> RUNNING", "task removed"]);
  });

  it("carry the definition of their time, also when it goes with them", () => {
    const { tables } = stateWith(put("task", task), sealed(1));
    const [gone] = told(tables, [drop("task", task), { kind: "taskDefinition", key: task.taskGuid, record: undefined } as Write]);
    expect(gone).toMatchObject({ event: { kind: "removed", task: { record: task, sealed: Uint8Array.of(1) } } });
  });
});

it("a note is of the streams that somebody follows, and of no other", () => {
  const { tables } = stateWith();
  const changes = tables.applyAll([desired(), ...rows(row())]);
  const note = takeNote(tables, changes, noHints, { desired: false, instances: true, tasks: false });
  expect(deriveEvents(note).map(({ hub }) => hub)).toEqual(["group", "instance"]);
});
