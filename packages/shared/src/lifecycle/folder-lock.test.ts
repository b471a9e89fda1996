// A folder's lock: one holder, named to the next, freed however it dies.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { OperatorError } from "../errors/index.js";
import { lockFolder } from "./folder-lock.js";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "muster-lock-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

it("refuses a second holder by whatever path it comes, and says who holds the folder", async () => {
  await using _lock = await lockFolder(folder, "the first");
  const link = join(folder, "link");
  symlinkSync(folder, link);
  const refusal = await lockFolder(link, "the second").catch((error: unknown) => error);
  expect(refusal).toBeInstanceOf(OperatorError);
  expect(String(refusal)).toContain(`the first, process ${process.pid}`);
});

it("is free again once disposed of, and other folders are free all along", async () => {
  const other = mkdtempSync(join(tmpdir(), "muster-lock-"));
  try {
    const first = await lockFolder(folder, "the first");
    await using _elsewhere = await lockFolder(other, "elsewhere");
    await first[Symbol.asyncDispose]();
    await first[Symbol.asyncDispose]();
    await using _again = await lockFolder(folder, "the second");
  } finally {
    rmSync(other, { recursive: true });
  }
});

it("is freed by kill -9 of its holder", async () => {
  // The holder speaks the lock's protocol in plain JavaScript, so that the test needs no build.
  const script = `
    const { createHash } = require("node:crypto");
    const name = "\\0muster-" + createHash("sha256").update(process.argv[1]).digest("hex").slice(0, 32);
    require("node:net").createServer((s) => s.end("a child, process " + process.pid + "\\n")).listen({ path: name }, () => console.log("held"));`;
  const child = spawn(process.execPath, ["-e", script, folder], { stdio: ["ignore", "pipe", "inherit"] });
  await once(child.stdout, "data");
  await expect(lockFolder(folder, "the second")).rejects.toThrow(`a child, process ${child.pid}`);
  child.kill("SIGKILL");
  await once(child, "exit");
  await using _lock = await lockFolder(folder, "the second");
});
