// What each cell may hold when the user does not say: the machine's memory and disk, divided, less the platform's own share.
import { statfsSync } from "node:fs";
import { totalmem } from "node:os";

const mib = 1_048_576;
/** The services take about 100 MB each, the rest is the machine's own. */
const keptMemoryMb = 1_024;
const keptMemoryShare = 0.1;
const keptDiskShare = 0.1;
const least = 64;

export interface CellCapacity {
  readonly memoryMb: number;
  readonly diskMb: number;
}

/** Pure. */
export function divideCapacity(machine: { readonly memoryMb: number; readonly freeDiskMb: number }, cells: number): CellCapacity {
  const kept = Math.max(keptMemoryMb, machine.memoryMb * keptMemoryShare);
  return {
    memoryMb: Math.max(least, Math.floor((machine.memoryMb - kept) / cells)),
    diskMb: Math.max(least, Math.floor((machine.freeDiskMb * (1 - keptDiskShare)) / cells)),
  };
}

export function machineCapacity(dir: string): { readonly memoryMb: number; readonly freeDiskMb: number } {
  const disk = statfsSync(dir);
  return { memoryMb: totalmem() / mib, freeDiskMb: (disk.bavail * disk.bsize) / mib };
}
