// Finding the tools, running them within bounds, and the locks between cells.
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "@muster/shared/clock";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { lastWords, makeExec, ToolError } from "./exec.js";
import { readInside, readJson, writeWhole } from "./files.js";
import { lockFile } from "./lock.js";

const exec = makeExec(systemClock);
let folder = "";
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "muster-tools-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const isAlive = async (pid: string): Promise<boolean> =>
  readFile(`/proc/${pid.trim()}/stat`, "utf8").then(
    (text) => !/\) [ZX] /.test(text),
    () => false,
  );

describe("exec", () => {
  it("gives input and takes output", async () => {
    const { stdout, stderr } = await exec("sh", ["-c", "cat; echo $WORD; echo aside >&2"], {
      input: "in ",
      env: { WORD: "out" },
    });
    expect([stdout.toString(), stderr]).toEqual(["in out\n", "aside\n"]);
  });
  it("tells how a tool failed, in its own last words", async () => {
    const error = await exec("sh", ["-c", "echo first >&2; echo last >&2; exit 3"]).catch((one: unknown) => one);
    expect(error).toMatchObject({ fault: "exit", code: 3 });
    expect(lastWords(error)).toBe("last");
    await expect(exec("no-such-tool-at-all", [])).rejects.toMatchObject({ fault: "missing" });
  });
  it("kills what runs too long, is aborted, or says too much, together with its children", async () => {
    const script = `sleep 30 & echo $! > ${folder}/pid; wait`;
    await expect(exec("sh", ["-c", script], { timeoutMs: 100 })).rejects.toMatchObject({ fault: "timeout" });
    expect(await isAlive(await readFile(join(folder, "pid"), "utf8"))).toBe(false);
    const abort = new AbortController();
    const running = exec("sleep", ["30"], { signal: abort.signal });
    abort.abort(new Error("enough"));
    await expect(running).rejects.toMatchObject({ fault: "aborted", cause: new Error("enough") });
    await expect(exec("sleep", ["30"], { signal: abort.signal })).rejects.toMatchObject({ fault: "aborted" });
    await expect(exec("sh", ["-c", "yes"], { maxOutputBytes: 1_000 })).rejects.toMatchObject({ fault: "output" });
  });
  it("does not wait for a grandchild that keeps the pipes", async () => {
    const started = performance.now();
    const { stdout } = await exec("sh", ["-c", "setsid sleep 3 & echo $!"]);
    expect(performance.now() - started).toBeLessThan(2_000);
    process.kill(Number(stdout.toString()), "SIGKILL");
  });
});

describe("locks", () => {
  it("are held by one at a time, in turn, and given up in time", async () => {
    const file = join(folder, "lock");
    const first = await lockFile(systemClock, file, 1_000);
    await expect(lockFile(systemClock, file, 100)).rejects.toMatchObject({ fault: "timeout" });
    const abort = new AbortController();
    const aborted = lockFile(systemClock, file, 5_000, abort.signal);
    abort.abort();
    await expect(aborted).rejects.toBeInstanceOf(ToolError);
    let held = false;
    const second = lockFile(systemClock, file, 5_000).then((lock) => {
      held = true;
      return lock;
    });
    await systemClock.sleep(50);
    expect(held).toBe(false);
    await first[Symbol.asyncDispose]();
    await (await second)[Symbol.asyncDispose]();
  });
});

describe("files", () => {
  it("are written whole and leave no temporary behind", async () => {
    await writeWhole(join(folder, "deep", "file.json"), '{"a":1}');
    expect(await readJson(join(folder, "deep", "file.json"))).toEqual({ a: 1 });
    expect(await readdir(join(folder, "deep"))).toEqual(["file.json"]);
    await writeFile(join(folder, "torn"), '{"a"');
    expect([await readJson(join(folder, "torn")), await readJson(join(folder, "none"))]).toEqual([undefined, undefined]);
  });
  it("inside a root are never read outside of it", async () => {
    const root = join(folder, "root");
    await mkdir(join(root, "etc"), { recursive: true });
    await writeFile(join(folder, "secret"), "outside");
    await writeFile(join(root, "real"), "inside");
    await symlink("../../../../secret", join(root, "etc", "up"));
    await symlink(join(folder, "secret"), join(root, "etc", "absolute"));
    await symlink("/real", join(root, "etc", "good"));
    await symlink("loop", join(root, "etc", "loop"));
    for (const name of ["up", "absolute", "loop", "none"])
      expect(await readInside(root, `/etc/${name}`, 100), name).toBeUndefined();
    expect(await readInside(root, "/etc/good", 3)).toBe("ins");
    expect(await readInside(root, "/etc", 100)).toBeUndefined();
  });
});
