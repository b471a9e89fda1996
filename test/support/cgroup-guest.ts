// Run inside a virtual machine: starts containers and tells, a line each, what it sees of their limits, figures and ends. It judges nothing.
import { execFile } from "node:child_process";
import { cp, mkdir, mkdtemp, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { containerSpec, leftovers, never, runScript, shell, startGarden } from "./garden.js";
import { factMark } from "./virtual-machine.js";

const run = promisify(execFile);
const cell = "cell-70";
/** Long for a machine that is emulated. */
const burnMs = 12_000;

const tell = (name: string, seen: unknown): void =>
  void process.stdout.write(`${factMark}${JSON.stringify([`${process.argv[2]}: ${name}`, seen])}\n`);

/** A root of busybox, as a preloaded stack: no registry is needed. */
async function makeStack(folder: string): Promise<void> {
  const root = join(folder, "root");
  for (const name of ["bin", "tmp", "etc"]) await mkdir(join(root, name), { recursive: true });
  await cp("/bin/busybox", join(root, "bin/busybox"));
  for (const applet of ["sh", "cat", "dd", "sleep", "seq", "echo"]) await symlink("busybox", join(root, "bin", applet));
  await mkdir(join(folder, "stacks"));
  await run("tar", ["--create", "--file", join(folder, "stacks/plain.tar"), "--directory", root, "."]);
}

async function main(): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "muster-guest-"));
  await makeStack(folder);
  const own = await startGarden({ insecureRegistries: [], cellId: cell, preloadedDir: join(folder, "stacks") });
  const { garden } = own;
  const create = (handle: string, over: Parameters<typeof containerSpec>[2]) =>
    garden.create(containerSpec(handle, "preloaded:plain", { diskMb: 0, ...over }), never);

  const limits = await create("limits", { memoryMb: 48, maxPids: 9, cpuWeight: 37 });
  const files = ["memory.max", "memory.swap.max", "pids.max", "cpu.weight"];
  const { text } = await runScript(
    limits,
    `cat ${files.map((name) => `/sys/fs/cgroup/${name}`).join(" ")}; cat /proc/self/cgroup`,
  );
  tell("limits", text.trim().split("\n"));
  await garden.destroy("limits");

  const grows = await create("grows", { memoryMb: 24 });
  tell("killed for want of memory", (await runScript(grows, "dd if=/dev/zero of=/dev/null bs=200M count=1")).exit);
  await garden.destroy("grows");

  const forks = await create("forks", { maxPids: 6 });
  tell("many processes", (await runScript(forks, "for i in $(seq 20); do sleep 3 & done 2>&1; echo end")).text);
  await garden.destroy("forks");

  const burn = "while :; do :; done";
  const [low, high] = [await create("low", { cpuWeight: 10 }), await create("high", { cpuWeight: 100 })];
  for (const one of [low, high]) await one.run(shell(burn), () => {});
  const before = await Promise.all([low.usage(), high.usage()]);
  await sleep(burnMs);
  const after = await Promise.all([low.usage(), high.usage()]);
  const used = after.map((usage, at) => Number(usage.cpuTimeNs - (before[at]?.cpuTimeNs ?? 0n)) / 1e6);
  tell("milliseconds of one processor by weights 10 and 100", used.map(Math.round));
  tell("figures", { memoryBytes: after[1]?.memoryBytes, pids: after[1]?.pids });
  await garden.destroy("high");

  // As a restarted rep: the process is known again by its cgroup.
  await garden[Symbol.asyncDispose]();
  const second = await own.restart();
  const found = await second.lookup("low")?.attach("app", () => {});
  await found?.signal("SIGTERM");
  tell("ended after it was taken up again", await found?.exited);
  await second.destroy("low");
  tell("left of the last container", await leftovers(own.home, cell, "low"));
  await own[Symbol.asyncDispose]();
  tell("left of the cell", await leftovers(own.home, cell));
  await rm(folder, { recursive: true, force: true });
}

// Nothing of a garden keeps a process alive that waits for it.
const awake = setInterval(() => undefined, 60_000);
try {
  await main();
} finally {
  clearInterval(awake);
}
