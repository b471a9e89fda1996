// Containers started and ended one after the other on one garden, and what the machine and this process have before and after.
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { namesOnMachine } from "@muster/garden/runc";
import { containerSpec, never, runScript, type TestGarden } from "./garden.js";
import { countMachine, type MachineCounts } from "./machine.js";

export interface SoakCounts extends MachineCounts {
  /** Open files of the process that owns the garden. */
  readonly files: number;
  readonly addresses: number;
  readonly folders: number;
}

export interface SoakResult {
  readonly cycles: number;
  readonly before: SoakCounts;
  readonly after: SoakCounts;
  /** Of this process, in MB; with the garbage collector exposed it is asked first. */
  readonly heap_before_mb: number;
  readonly heap_after_mb: number;
  readonly rss_before_mb: number;
  readonly rss_after_mb: number;
}

const mb = (bytes: number): number => Math.round(bytes / 104_857.6) / 10;
const countOf = async (folder: string, fits: (name: string) => boolean = () => true): Promise<number> =>
  (await readdir(folder).catch((): string[] => [])).filter(fits).length;

/** Of a cell whose garden is in this process, or in the one of this pid. */
export async function soakCounts(home: string, cellId: string, pid: number | "self" = "self"): Promise<SoakCounts> {
  const names = namesOnMachine(home, cellId);
  const network = names.netnsPrefix.slice(0, -1);
  return {
    ...(await countMachine(home, cellId)),
    files: await countOf(`/proc/${pid}/fd`),
    addresses: await countOf(join(names.runDir, "ipam", network), (name) => /^[0-9.]+$/.test(name)),
    folders: (await countOf(join(names.runDir, "c"))) + (await countOf(names.dataDir)),
  };
}

function memory(): { heap: number; rss: number } {
  (globalThis as { gc?: () => void }).gc?.();
  const { heapUsed, rss } = process.memoryUsage();
  return { heap: mb(heapUsed), rss: mb(rss) };
}

/** Every container has a port, rules, a disk and two processes, one of which ends by itself. The first few, which warm everything up, do not count. */
export async function soakGarden(test: TestGarden, cellId: string, rootFs: string, cycles: number): Promise<SoakResult> {
  const cycle = async (handle: string): Promise<void> => {
    const over = {
      ports: [{ containerPort: 8080 }],
      egress: [{ protocol: "tcp", destinations: ["192.0.2.0/24"], ports: [443] }],
    };
    const container = await test.garden.create(containerSpec(handle, rootFs, over), never);
    const first = await container.run(
      { id: "app", path: "sleep", args: ["1000"], dir: "", user: "", env: [], nofile: undefined },
      () => {},
    );
    await runScript(container, "echo hello", { id: "more" });
    await first.signal("SIGTERM");
    await first.exited;
    await test.garden.destroy(handle);
  };
  for (let round = 0; round < 3; round += 1) await cycle(`warm-${round}`);
  const before = await soakCounts(test.home, cellId);
  const was = memory();
  for (let round = 0; round < cycles; round += 1) await cycle(`soak-${round}`);
  const after = await soakCounts(test.home, cellId);
  const is = memory();
  return {
    cycles,
    before,
    after,
    heap_before_mb: was.heap,
    heap_after_mb: is.heap,
    rss_before_mb: was.rss,
    rss_after_mb: is.rss,
  };
}
