// The simulator can fail: what judges a run finds the faults it is there for.
import { type ActualLRP, asCellId, asEpochNs, asInstanceGuid, type Change, put, Tables } from "@muster/shared/model";
import { actualLRP } from "@muster/shared/testing";
import { describe, expect, it } from "vitest";
import { besideFaults, changeFaults, instanceFaults, rowFaults } from "./invariants.js";
import { absent, Ledger } from "./ledger.js";
import { SimulationFailure, SimWorld } from "./world.js";

const key = (instance: string, cell = "cell-1") => ({ instanceGuid: asInstanceGuid(instance), cellId: asCellId(cell) });
const netInfo = {
  address: "10.0.0.1",
  ports: [],
  instanceAddress: "",
  instanceIpv6Address: "",
  preferredAddress: "HOST",
} as const;

const tag = (index: number, epoch = "e") => ({ modificationTag: { epoch, index } });
const unclaimed = actualLRP({ sinceNs: asEpochNs(1n), ...tag(0) });
const claimed: ActualLRP = { ...unclaimed, state: "CLAIMED", instanceKey: key("a"), ...tag(1) };
const running: ActualLRP = { ...claimed, state: "RUNNING", netInfo, ...tag(2) };
const crashed: ActualLRP = { ...unclaimed, state: "CRASHED", crashCount: 3, ...tag(3) };

const rowKey = "p/0/ORDINARY";
const change = (before: ActualLRP | undefined, after: ActualLRP | undefined): Change => ({
  kind: "actualLRP",
  key: rowKey,
  before,
  after,
});

/** Tables in which index 0 of `p` is wanted, with these rows. */
function wanting(instances: number, ...rows: ActualLRP[]): Tables {
  const tables = new Tables();
  tables.apply({ kind: "desiredLRP", key: "p", record: { processGuid: "p", instances, rootFs: "preloaded:x" } as never });
  for (const row of rows) tables.apply(put("actualLRP", row));
  return tables;
}

describe("a row by itself", () => {
  it.each([
    { fault: "I2", row: { ...unclaimed, instanceKey: key("a") } },
    { fault: "I2", row: { ...running, netInfo: undefined } },
    { fault: "I4", row: { ...claimed, presence: "EVACUATING" } },
    { fault: "I11", row: { ...crashed, crashCount: 2 } },
    { fault: "I13", row: { ...claimed, placementError: "no room" } },
    { fault: "S1", row: { ...unclaimed, stopMarked: true } },
  ] satisfies { fault: string; row: ActualLRP }[])("$fault is found", ({ fault, row }) => {
    expect(rowFaults(`p/0/${row.presence}`, row).join()).toContain(fault);
  });

  it("is right as the BBS makes it", () => {
    for (const row of [unclaimed, claimed, running, crashed]) expect(rowFaults(rowKey, row)).toEqual([]);
  });
});

describe("a change", () => {
  it.each([
    { fault: "I8", before: running, after: { ...running, instanceKey: key("b"), ...tag(3) } },
    { fault: "I8", before: crashed, after: { ...claimed, crashCount: 3, ...tag(4) } },
    { fault: "I7", before: claimed, after: { ...running, ...tag(0) } },
    { fault: "I10", before: running, after: { ...unclaimed, crashCount: 2, ...tag(3) } },
    { fault: "I12", before: crashed, after: { ...unclaimed, crashCount: 3, ...tag(4) } },
    { fault: "I22", before: running, after: undefined },
    { fault: "I22", before: running, after: { ...unclaimed, ...tag(0, "f") } },
    { fault: "S2", before: { ...running, stopMarked: true }, after: { ...running, ...tag(3) } },
    { fault: "S2", before: { ...running, stopMarked: true }, after: { ...unclaimed, ...tag(3) } },
  ])("that breaks $fault is found", ({ fault, before, after }) => {
    expect(changeFaults(change(before, after), wanting(1)).join()).toContain(fault);
  });

  it("to an index that is not wanted is found", () => {
    expect(changeFaults(change(unclaimed, claimed), wanting(0)).join()).toContain("W1");
    expect(changeFaults(change(unclaimed, claimed), wanting(1))).toEqual([]);
  });

  it("that leaves a Suspect beside a running row, or one instance in two rows, is found", () => {
    const suspect: ActualLRP = { ...running, presence: "SUSPECT", instanceKey: key("b", "cell-2") };
    expect(besideFaults(running, wanting(1, running, suspect)).join()).toContain("I31");
    expect(instanceFaults(wanting(1, running, { ...running, index: 1 })).join()).toContain("I5");
  });
});

describe("the ledger", () => {
  it("keeps both outcomes of a call nobody answered, until a later answer tells", () => {
    const ledger = new Ledger(false);
    ledger.asked("p", { do: "desire", instances: 3 });
    ledger.answered("p", "unknown");
    expect(ledger.possible("p")).toEqual(new Set([absent, 3]));
    ledger.asked("p", { do: "desire", instances: 4 });
    expect(ledger.answered("p", "exists")).toBeUndefined();
    expect(ledger.possible("p")).toEqual(new Set([3]));
  });

  it("finds an answer that contradicts an acknowledged call", () => {
    const ledger = new Ledger(false);
    ledger.asked("p", { do: "desire", instances: 3 });
    ledger.answered("p", "done");
    ledger.asked("p", { do: "scale", instances: 1 });
    expect(ledger.answered("p", "not-found")).toContain("contradicts");
  });
});

describe("a world", () => {
  it("in which acknowledged calls do nothing is found out, with the seed that replays it", async () => {
    const world = new SimWorld({ seed: 3, cells: 2, faults: {}, busy: 0.3 });
    const { door } = world;
    const call = door.call.bind(door);
    door.call = (from, name, make, options) =>
      name === "scale" ? Promise.resolve(undefined as never) : call(from, name, make, options);
    const failure = await world.run({ ticks: 600 }).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(SimulationFailure);
    expect(String(failure)).toMatch(/is stored as \d, acknowledged was[\s\S]*replay with SIM_SEED=3/);
  });

  it("in which a container that nobody wants is left is found out", async () => {
    const world = new SimWorld({ seed: 4, cells: 2, faults: {}, busy: 0.3 });
    await world.run({ ticks: 300 });
    world.stopFaults();
    await world.settle(60_000);
    const [cell] = world.cells;
    const made = cell?.garden.create({ ...spare, handle: "nobodys" }, new AbortController().signal);
    await world.clock.advance(1_000);
    await made;
    expect(world.unmet().join()).toContain("still has container nobodys");
  });
});

it("a fault that finds nobody to befall is not counted", async () => {
  const world = new SimWorld({ seed: 5, cells: 1, faults: { crashRep: 1, cutCell: 1 } });
  await world.run({ ticks: 30 });
  const said = (what: string): number =>
    world.trace
      .tail(400)
      .split("\n")
      .filter((line) => line.includes(what)).length;
  expect(world.dice.counts).toEqual({ crashRep: said(" crash cell-1"), cutCell: said(" cut off cell-1") });
  expect(said(" crash cell-1")).toBeLessThan(30);
});

const spare = {
  rootFs: "docker:///library/app#v1",
  credentials: undefined,
  memoryMb: 1,
  diskMb: 1,
  maxPids: 0,
  cpuWeight: 1,
  ports: [],
  env: [],
  properties: { process_guid: "p-0", index: "0" },
  hostname: "nobodys",
};
