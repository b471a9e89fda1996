// The LMDB driver against kill -9, a second opener, its bound and a full disk.
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { systemClock } from "@muster/shared/clock";
import { OperatorError } from "@muster/shared/errors";
import type { StoreDriver } from "@muster/store";
import { openLmdbStore } from "@muster/store/lmdb";
import { afterEach, beforeEach, expect, it } from "vitest";
import { never, put, recordsOf, Scribe } from "./scribe.js";

let path: string;
beforeEach(() => {
  path = mkdtempSync(join(tmpdir(), "muster-lmdb-"));
});
afterEach(() => rmSync(path, { recursive: true }));

const open = (mapSizeBytes?: number): Promise<StoreDriver> =>
  openLmdbStore({ path, clock: systemClock, ...(mapSizeBytes === undefined ? {} : { mapSizeBytes }) });

const lead = async (store: StoreDriver): Promise<Scribe> =>
  new Scribe(store, await store.campaign("bbs", "x", 10_000, never), await store.readHead(never));

function patch(file: string, at: number, bytes: number[]): void {
  const whole = readFileSync(file);
  whole.set(bytes, at);
  writeFileSync(file, whole);
}

/** Starts the writer from its sources and resolves to the last sequence it acknowledged before it was killed. */
async function killWriterAfter(commits: number): Promise<{ acknowledged: bigint; refusal: unknown }> {
  const script = fileURLToPath(new URL("./lmdb-writer.ts", import.meta.url));
  const args = ["--conditions", "muster-source", "--import", "tsx", script, path];
  const cwd = fileURLToPath(new URL(".", import.meta.url));
  const writer = spawn(process.execPath, args, { cwd, stdio: ["ignore", "pipe", "inherit"] });
  const exited = once(writer, "exit");
  try {
    let lines = "";
    let refusal: unknown;
    for await (const chunk of writer.stdout.setEncoding("utf8") as AsyncIterable<string>) {
      lines += chunk;
      refusal ??= await open().catch((error: unknown) => error);
      if (lines.split("\n").length > commits) writer.kill("SIGKILL");
    }
    return { acknowledged: BigInt(lines.trimEnd().split("\n").at(-1) ?? "0"), refusal };
  } finally {
    writer.kill("SIGKILL");
    await exited;
  }
}

it("kill -9 in the middle of commits: the folder is free, and every acknowledged commit is there, whole", async () => {
  for (const commits of [1, 60, 25]) {
    const { acknowledged, refusal } = await killWriterAfter(commits);
    expect(refusal).toBeInstanceOf(OperatorError);
    await using store = await open();
    const { head, records } = await recordsOf(store);
    // One more may have reached the disk before its line was printed.
    expect([acknowledged, acknowledged + 1n]).toContain(head?.sequence);
    expect(records).toHaveLength(50);
    expect(new Set(records.map(([, value]) => value))).toEqual(new Set([`${head?.sequence}`]));
  }
});

it("a second opener is told who holds the folder and what to do, and harms nobody", async () => {
  await using store = await open();
  const bbs = await lead(store);
  const refusal = await open().catch((error: unknown) => error);
  expect(refusal).toBeInstanceOf(OperatorError);
  expect(refusal).toMatchObject({
    message: expect.stringContaining(`process ${process.pid}`),
    hint: expect.stringContaining("stop"),
  });
  await bbs.write([put("a", "1")]);
});

it("only this user may look into the folder", async () => {
  await using _store = await open();
  expect(statSync(path).mode & 0o777).toBe(0o700);
});

it.each([
  { what: "overwritten", damage: (file: string) => writeFileSync(file, Buffer.alloc(16_384, 7)), says: "damaged" },
  { what: "cut short", damage: (file: string) => truncateSync(file, 100), says: "cut short" },
  { what: "of another format", damage: (file: string) => patch(file, 28, [9]), says: "format 9" },
])("a file that is $what is an operator's matter, and the folder is free again", async ({ damage, says }) => {
  await (await open())[Symbol.asyncDispose]();
  damage(join(path, "data.mdb"));
  for (let tries = 0; tries < 2; tries += 1) {
    const refusal = await open().catch((error: unknown) => error);
    expect(refusal).toBeInstanceOf(OperatorError);
    expect(refusal).toMatchObject({
      message: expect.stringContaining("cannot be opened"),
      cause: { message: expect.stringContaining(says) },
    });
  }
});

it("at its bound it refuses as no-space and writes nothing; deleting makes room", async () => {
  const bound = 8 * 1024 ** 2;
  await using store = await open(bound);
  const bbs = await lead(store);
  const megabyte = (n: number) => ({ key: `k${n}`, value: Buffer.alloc(1_000_000, n) });
  let n = 0;
  for (; n < 20; n += 1) {
    const batch = bbs.batch([put(`small${n}`, "1"), megabyte(n)]);
    const result = await bbs.send(batch);
    if (!result.ok) {
      expect(result).toMatchObject({ why: "refused", reason: "no-space" });
      break;
    }
    bbs.settle(batch);
  }
  expect(n).toBe(8);
  expect(await recordsOf(store)).toMatchObject({ head: bbs.head, records: { length: 16 } });
  const { usedBytes, allowedBytes } = await store.usage(never);
  expect(allowedBytes).toBe(bound);
  expect(usedBytes).toBeGreaterThan(0.9 * bound);
  await bbs.write([0, 1].map((i) => ({ key: `k${i}`, value: undefined })));
  await bbs.write([megabyte(20)]);
  expect((await store.usage(never)).usedBytes).toBeLessThan(usedBytes);
});

it("a full disk is refused as no-space and writes nothing; once there is room it goes on", async () => {
  const disk = join(path, "disk");
  execFileSync("mkdir", [disk]);
  execFileSync("mount", ["-t", "tmpfs", "-o", "size=3m", "tmpfs", disk]);
  try {
    await using store = await openLmdbStore({ path: join(disk, "store"), clock: systemClock });
    const bbs = await lead(store);
    let refused: unknown;
    for (let n = 0; n < 40 && refused === undefined; n += 1) {
      const batch = bbs.batch([{ key: `k${n}`, value: Buffer.alloc(200_000, n) }, put("last", `${n}`)]);
      const result = await bbs.send(batch);
      if (result.ok) bbs.settle(batch);
      else refused = result;
    }
    expect(refused).toMatchObject({ ok: false, why: "refused", reason: "no-space" });
    const { head, records } = await recordsOf(store);
    expect(head).toEqual(bbs.head);
    expect(records.at(-1)).toEqual(["last", `${Number(bbs.head?.sequence) - 1}`]);
    execFileSync("mount", ["-o", "remount,size=16m", disk]);
    await bbs.write([{ key: "more", value: Buffer.alloc(1_000_000) }]);
  } finally {
    execFileSync("umount", [disk]);
  }
});

it("a bound too small to be meant is refused", async () => {
  await expect(open(1_000)).rejects.toThrow(OperatorError);
});
