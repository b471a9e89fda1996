// runc by itself on the bundle of a container that runs, its namespaces, mounts and limits included: the floor beneath what a cell does.
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { namesOnMachine } from "@muster/garden/runc";
import { timed } from "./spread.js";

const run = promisify(execFile);

/** A zombie has ended too: who is to see it off is not ours to say. */
const lives = async (pid: string): Promise<boolean> =>
  /\) [^ZX] /.test(await readFile(`/proc/${pid}/stat`, "utf8").catch(() => ""));

interface Bare {
  readonly id: string;
  readonly dir: string;
  readonly root: readonly string[];
}

/** The container's bundle with another first process, and a cgroup and a state folder of its own. */
async function bareBundle(home: string, cellId: string, handle: string, args: readonly string[]): Promise<Bare> {
  const names = namesOnMachine(home, cellId);
  const bundle = join(names.runDir, "c", handle, "bundle");
  const id = `bare-${handle}`;
  const dir = join(bundle, "bare");
  const config = JSON.parse(await readFile(join(bundle, "config.json"), "utf8"));
  config.process.args = args;
  config.linux.cgroupsPath = `${names.cgroupParent}/${id}`;
  config.root.path = join(bundle, "rootfs");
  await mkdir(dir, { recursive: true });
  await writeFile(join(dir, "config.json"), JSON.stringify(config));
  return { id, dir, root: ["--root", join(dir, "state")] };
}

/** Milliseconds of `runc run` of /bin/true, from its start to its end. */
export async function bareRun(home: string, cellId: string, handle: string): Promise<number> {
  const { id, dir, root } = await bareBundle(home, cellId, handle, ["/bin/true"]);
  const ms = await timed(() => run("runc", [...root, "run", "--bundle", dir, id]));
  await rm(dir, { recursive: true });
  return ms;
}

/** Milliseconds from `runc kill` with SIGKILL until `runc delete` is done. */
export async function bareStop(home: string, cellId: string, handle: string): Promise<number> {
  const { id, dir, root } = await bareBundle(home, cellId, handle, ["/bin/sleep", "1000"]);
  const pidFile = join(dir, "pid");
  const start = spawn("runc", [...root, "run", "--detach", "--pid-file", pidFile, "--bundle", dir, id], { stdio: "ignore" });
  const [code] = (await once(start, "exit")) as [number | null];
  if (code !== 0) throw new Error(`runc run --detach ended with ${code}`);
  const pid = (await readFile(pidFile, "utf8")).trim();
  const ms = await timed(async () => {
    await run("runc", [...root, "kill", id, "KILL"]);
    while (await lives(pid)) await sleep(1);
    await run("runc", [...root, "delete", id]);
  });
  await rm(dir, { recursive: true });
  return ms;
}
