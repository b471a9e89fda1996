// A real garden for a test: in a home of its own, with ports of its own, and with the proof that nothing of it is left.
import { execFile } from "node:child_process";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import type { Container, ContainerSpec, GardenProcess, OutputSink, ProcessSpec } from "@muster/garden";
import { namesOnMachine, openRuncGarden, type RuncGarden, type RuncGardenOptions } from "@muster/garden/runc";
import { systemClock, systemEntropy } from "@muster/shared/clock";
import { silentLog } from "@muster/shared/log";
import { cgroupsBelow } from "./machine.js";

const run = promisify(execFile);
export const never = new AbortController().signal;

export interface TestGarden extends AsyncDisposable {
  readonly home: string;
  readonly garden: RuncGarden;
  /** Another garden on the same cell, as a restarted rep opens it; the first is given up without a word, as by kill -9. */
  restart(): Promise<RuncGarden>;
}

export async function startGarden(over: Partial<RuncGardenOptions> = {}): Promise<TestGarden> {
  const home = over.home ?? (await mkdtemp(join(tmpdir(), "muster-garden-")));
  const options: RuncGardenOptions = {
    home,
    cellId: "cell-1",
    hostAddress: "127.0.0.1",
    portRange: { first: 41_001, last: 41_100 },
    capacity: { memoryMb: 1_024, diskMb: 4_096, containers: 50 },
    insecureRegistries: [],
    registryCaFiles: [],
    imageCacheDir: join(home, "images"),
    clock: systemClock,
    entropy: systemEntropy,
    log: silentLog(),
    ...over,
  };
  const opened: RuncGarden[] = [];
  const open = async (): Promise<RuncGarden> => {
    const garden = openRuncGarden(options);
    await garden.start(never);
    opened.push(garden);
    return garden;
  };
  const garden = await open();
  return {
    home,
    garden,
    restart: open,
    [Symbol.asyncDispose]: async () => {
      await opened.at(-1)?.removeEverything();
      await Promise.all(opened.map((one) => one[Symbol.asyncDispose]()));
      if (over.home === undefined) await rm(home, { recursive: true, force: true });
    },
  };
}

export const containerSpec = (handle: string, rootFs: string, over: Partial<ContainerSpec> = {}): ContainerSpec => ({
  handle,
  rootFs,
  credentials: undefined,
  memoryMb: 64,
  diskMb: 32,
  maxPids: 32,
  cpuWeight: 50,
  ports: [],
  env: [],
  properties: {},
  hostname: handle,
  ...over,
});

export const processSpec = (path: string, args: readonly string[] = [], over: Partial<ProcessSpec> = {}): ProcessSpec => ({
  id: "app",
  path,
  args,
  dir: "",
  user: "",
  env: [],
  nofile: undefined,
  ...over,
});

export const shell = (script: string, over: Partial<ProcessSpec> = {}): ProcessSpec =>
  processSpec("/bin/sh", ["-c", script], over);

/** Collects output. */
export function recorder(): { sink: OutputSink; text: () => string } {
  let text = "";
  return {
    sink: (_stream, chunk) => {
      text += Buffer.from(chunk).toString("utf8");
    },
    text: () => text,
  };
}

/** Runs a script to its end. */
export async function runScript(container: Container, script: string, over: Partial<ProcessSpec> = {}) {
  const output = recorder();
  const process: GardenProcess = await container.run(shell(script, over), output.sink);
  const exit = await process.exited;
  return { exit, text: output.text() };
}

/** Waits until `holds` is true, at most `ms`. */
export async function eventually(what: string, holds: () => Promise<boolean> | boolean, ms = 10_000): Promise<void> {
  const deadline = performance.now() + ms;
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error(`waited ${ms} ms in vain: ${what}`);
    await sleep(10);
  }
}

const linesWith = (text: string, ...needles: readonly string[]): string[] =>
  text.split("\n").filter((line) => needles.some((needle) => line.includes(needle)));

async function processesWith(needle: string): Promise<string[]> {
  const pids = (await readdir("/proc")).filter((name) => /^[0-9]+$/.test(name) && Number(name) !== process.pid);
  const commands = await Promise.all(pids.map(async (pid) => readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "")));
  return commands.filter((command) => command.includes(needle)).map((command) => command.replaceAll("\0", " "));
}

/** Addresses that host-local keeps for a container. */
async function addressesOf(folder: string, handle: string): Promise<string[]> {
  const names = (await readdir(folder).catch((): string[] => [])).filter((name) => /^[0-9.]+$/.test(name));
  const owners = await Promise.all(names.map((name) => readFile(join(folder, name), "utf8").catch(() => "")));
  return names.filter((_name, index) => owners[index]?.split(/\s/)[0] === handle);
}

/** Everything this machine still has of one container, or of a whole cell when no handle is given. */
export async function leftovers(home: string, cellId: string, handle?: string): Promise<string[]> {
  const names = namesOnMachine(home, cellId);
  const folder = join(names.runDir, "c", handle ?? "");
  const list = (path: string): Promise<string[]> => readdir(path).catch((): string[] => []);
  const [rules, links, mounts, loops, netns, processes, runc, data, cgroups, addresses] = await Promise.all([
    run("iptables-save").then(({ stdout }) => linesWith(stdout, names.chainPrefix)),
    run("ip", ["-o", "link"]).then(({ stdout }) => linesWith(stdout, names.bridge)),
    readFile("/proc/self/mountinfo", "utf8").then((text) => linesWith(text, folder, join(names.dataDir, handle ?? ""))),
    run("losetup", ["-a"]).then(({ stdout }) => linesWith(stdout, join(names.dataDir, handle ?? ""))),
    list("/run/netns").then((all) => all.filter((name) => name.startsWith(`${names.netnsPrefix}${handle ?? ""}`))),
    processesWith(folder),
    list(join(names.runDir, "runc")),
    list(names.dataDir),
    cgroupsBelow(names.cgroupParent),
    addressesOf(join(names.runDir, "ipam", names.netnsPrefix.slice(0, -1)), handle ?? ""),
  ]);
  if (handle === undefined)
    return [
      ...rules,
      ...links,
      ...mounts,
      ...loops,
      ...netns,
      ...processes,
      ...runc,
      ...cgroups.map((name) => `cgroup ${names.cgroupParent}/${name}`),
      ...(await list(names.runDir)),
    ];
  // A veth whose other end is in another container's namespace is that container's.
  const own = `link-netns ${names.netnsPrefix}${handle}`;
  const veths = links.filter((line) => line.includes("veth") && (!line.includes("link-netns") || line.trimEnd().endsWith(own)));
  const named = [...runc, ...data, ...cgroups].filter((name) => name === handle);
  return [
    ...rules.filter((line) => line.includes(`--comment ${handle} `)),
    ...veths,
    ...mounts,
    ...loops,
    ...netns,
    ...processes,
    ...named,
    ...addresses,
  ];
}
