// The machine's routing switch, on files that stand for it.
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { Forwarding } from "./forwarding.js";

let folder = "";
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "muster-forwarding-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const value = async (): Promise<string> => (await readFile(join(folder, "switch"), "utf8")).trim();
const open = (): Forwarding => new Forwarding(join(folder, "memory"), join(folder, "switch"));

it("is put back to what it was before the first cell, also by another process than the one that changed it", async () => {
  await writeFile(join(folder, "switch"), "0\n");
  await open().allow();
  await open().allow();
  expect(await value()).toBe("1");
  await open().restore();
  expect(await value()).toBe("0");
  await writeFile(join(folder, "switch"), "1\n");
  await open().restore();
  expect(await value()).toBe("1");
});

it("is left on when it was on already", async () => {
  await writeFile(join(folder, "switch"), "1\n");
  await open().allow();
  await open().restore();
  expect(await value()).toBe("1");
});
