// The cell's data folder: owner, evacuating mark, one user at a time.
import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemEntropy } from "@muster/shared/clock";
import { silentLog } from "@muster/shared/log";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { containerRecord, netInfo } from "../testing/records.js";
import { type DataFolder, openDataFolder } from "./folder.js";
import { decodeContainer, encodeContainer } from "./store.js";

let home: string;
const opened: DataFolder[] = [];
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), "muster-rep-data-"));
});
afterEach(() => {
  for (const folder of opened.splice(0)) folder.release();
  rmSync(home, { recursive: true, force: true });
});
const open = async (path = join(home, "rep")): Promise<DataFolder> => {
  const folder = await openDataFolder(path, systemEntropy, silentLog());
  opened.push(folder);
  return folder;
};

describe("the data folder", () => {
  it("makes an owner once and keeps it", async () => {
    const first = await open();
    first.release();
    const second = await open();
    expect(second.owner).toBe(first.owner);
    expect(second.owner).toMatch(/^[0-9a-f-]{36}$/);
    expect((await open(join(home, "other"))).owner).not.toBe(first.owner);
  });

  it("is used by one rep at a time", async () => {
    const first = await open();
    await expect(open()).rejects.toThrow(/in use by another process/);
    first.release();
    await open();
  });

  it("remembers that the cell evacuates", async () => {
    const first = await open();
    expect(first.evacuating).toBe(false);
    first.setEvacuating(true);
    first.release();
    const second = await open();
    expect(second.evacuating).toBe(true);
    second.setEvacuating(false);
    second.release();
    expect((await open()).evacuating).toBe(false);
  });

  it("cannot be made where a file stands", async () => {
    writeFileSync(join(home, "file"), "");
    await expect(open(join(home, "file", "rep"))).rejects.toThrow(/cannot be made/);
  });
});

describe("container records", () => {
  const record = containerRecord("guid-1", {
    state: "completed",
    ending: "crashed",
    failureReason: "Instance became unhealthy",
    netInfo: netInfo(),
    stopped: false,
    startInfo: {
      logSource: "CELL",
      logGuid: "l",
      healthSource: "HEALTH",
      checks: [{ kind: "tcp", port: 80, path: "/", timeoutMs: 1, intervalMs: 2 }],
      readinessChecks: [],
      startTimeoutMs: 3,
      logBytesPerSecond: -1,
      internalRoutes: ["a.internal"],
      metricTags: { a: "b" },
      skeleton: "",
      monitored: false,
    },
  });

  it("come back whole, readable by their owner alone", async () => {
    const { containers, path } = await open();
    await containers.put(containerRecord("guid-1"));
    await containers.put(record);
    expect(await containers.load(77)).toEqual([{ ...record, reservedAtMs: 77 }]);
    const folder = join(path, "containers");
    expect(readdirSync(folder)).toEqual(["guid-1.json"]);
    expect(statSync(join(folder, "guid-1.json")).mode & 0o077).toBe(0);
    await containers.delete("guid-1");
    await containers.delete("guid-1");
    expect(await containers.load(0)).toEqual([]);
  });

  it("that cannot be read are dropped, and half-written ones passed over", async () => {
    const { containers, path } = await open();
    await containers.put(record);
    writeFileSync(join(path, "containers", "bad.json"), "{");
    writeFileSync(join(path, "containers", "guid-2.json.new"), "{");
    expect((await containers.load(0)).map((one) => one.instanceGuid)).toEqual(["guid-1"]);
    expect(readdirSync(join(path, "containers"))).not.toContain("bad.json");
  });

  it("have file names that stay in their folder", async () => {
    const { containers } = await open();
    await expect(containers.put(containerRecord("../x"))).rejects.toThrow(/no file name/);
  });

  it("of another version are not read", () => {
    expect(decodeContainer(encodeContainer(record).replace('"version":1', '"version":2'), 0)).toBeUndefined();
  });
});
