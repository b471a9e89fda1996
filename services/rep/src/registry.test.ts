// The registry of containers and the capacity they hold.
import { asInstanceGuid } from "@muster/shared/model";
import { describe, expect, it } from "vitest";
import { Registry } from "./registry.js";
import { containerRecord } from "./testing/records.js";

const total = { memoryMb: 1_000, diskMb: 1_000, containers: 3 };

describe("the registry", () => {
  it("holds a container's resources until it is removed, completed ones included", () => {
    const registry = new Registry(total);
    registry.add(containerRecord("a"));
    expect(registry.remaining()).toEqual({ memoryMb: 936, diskMb: 872, containers: 2 });
    registry.update(containerRecord("a", { state: "completed" }));
    expect(registry.remaining()).toEqual({ memoryMb: 936, diskMb: 872, containers: 2 });
    registry.remove(asInstanceGuid("a"));
    expect(registry.remaining()).toEqual(total);
  });

  it("counts those that start", () => {
    const registry = new Registry(total);
    registry.add(containerRecord("a"));
    registry.add(containerRecord("b", { state: "created" }));
    registry.update(containerRecord("b", { state: "running" }));
    expect(registry.startingCount).toBe(1);
    registry.remove(asInstanceGuid("a"));
    expect(registry.startingCount).toBe(0);
  });

  it("refuses a move that the table does not know, and a guid used twice", () => {
    const registry = new Registry(total);
    registry.add(containerRecord("a"));
    expect(() => registry.update(containerRecord("a", { state: "running" }))).toThrow(
      /cannot transition from reserved to running/,
    );
    expect(() => registry.add(containerRecord("a"))).toThrow(/used once/);
    expect(() => registry.update(containerRecord("b"))).toThrow(/that is here/);
    expect(registry.get(asInstanceGuid("a"))?.state).toBe("reserved");
  });

  it("holds an index only while its container is not completed", () => {
    const registry = new Registry(total);
    registry.add(containerRecord("a"));
    expect(registry.holds("p", 0)).toBe(true);
    expect(registry.holds("p", 1)).toBe(false);
    registry.update(containerRecord("a", { state: "completed" }));
    expect(registry.holds("p", 0)).toBe(false);
  });

  it("changes only what is still in the states named", () => {
    const registry = new Registry(total);
    registry.add(containerRecord("a"));
    const guid = asInstanceGuid("a");
    expect(registry.updateIf(guid, ["running"], (record) => ({ ...record, routable: true }))).toBe(false);
    expect(registry.updateIf(guid, ["reserved"], (record) => ({ ...record, routable: true }))).toBe(true);
    expect(registry.get(guid)?.routable).toBe(true);
  });

  it("tells of every change with what was before", () => {
    const registry = new Registry(total);
    const seen: string[] = [];
    const stop = registry.onChange((_guid, record, before) => seen.push(`${before?.state} ${record?.state}`));
    registry.add(containerRecord("a"));
    registry.update(containerRecord("a", { state: "initializing" }));
    registry.remove(asInstanceGuid("a"));
    stop();
    registry.add(containerRecord("b"));
    expect(seen).toEqual(["undefined reserved", "reserved initializing", "initializing undefined"]);
  });
});
