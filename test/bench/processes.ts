// What processes of this machine have used, as the kernel counts it.
import { readFileSync } from "node:fs";

export interface ProcessUse {
  /** Of its whole life. */
  readonly cpuSeconds: number;
  readonly residentMib: number;
  readonly residentPeakMib: number;
}

/** Linux counts CPU time for processes in hundredths of a second on every architecture Node runs on. */
const ticksPerSecond = 100;

/** @throws when there is no such process. */
export function readUse(pid: number): ProcessUse {
  // The command, which may hold anything, stands in parentheses.
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  const mib = (name: string): number => Math.round(Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, "m").exec(status)?.[1]) / 1_024);
  return {
    cpuSeconds: (Number(fields[11]) + Number(fields[12])) / ticksPerSecond,
    residentMib: mib("VmRSS"),
    residentPeakMib: mib("VmHWM"),
  };
}

/** Lines of a service's log that warn or report an error, counted by what they say. */
export function troublesIn(log: string): Readonly<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const line of log.split("\n")) {
    // Most lines only inform.
    if (!/^\{"level":[456]0/.test(line)) continue;
    const said = /"msg":"([^"]*)"/.exec(line)?.[1] ?? "?";
    counts[said] = (counts[said] ?? 0) + 1;
  }
  return counts;
}
