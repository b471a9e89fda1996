// `run/services.json` of a home: which processes the supervisor runs, for `status` and for the next `up` after a kill -9.
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import path from "node:path";
import { z } from "zod";

const serviceSchema = z.object({
  name: z.string(),
  role: z.enum(["bbs", "auctioneer", "converger", "rep", "registry"]),
  /** 0 while it is down. */
  pid: z.number().int().nonnegative(),
  /** Where it serves; empty for a converger, which serves nobody. */
  address: z.string(),
  /** Metrics and health over plain HTTP; empty for the registry. */
  metrics_address: z.string(),
});
const fileSchema = z.object({ supervisor_pid: z.number().int(), services: z.array(serviceSchema) });

export type ServiceRecord = Readonly<z.infer<typeof serviceSchema>>;
export type ServicesFile = Readonly<z.infer<typeof fileSchema>>;

/** The file that marks a folder as a home of `up`. */
export const homeMark = "muster-home.json";
export const servicesFileOf = (home: string): string => path.join(home, "run", "services.json");

/** Whether this is a home of `up` on this machine whose supervisor does not run. */
export function isStopped(home: string): boolean {
  if (!existsSync(path.join(home, homeMark))) return false;
  const pid = readServicesFile(servicesFileOf(home))?.supervisor_pid;
  if (pid === undefined) return true;
  try {
    process.kill(pid, 0);
    return false;
  } catch (error) {
    // EPERM: it runs, as somebody else.
    return (error as NodeJS.ErrnoException).code === "ESRCH";
  }
}

/** `undefined` when there is none, or none that can be read. */
export function readServicesFile(file: string): ServicesFile | undefined {
  if (!existsSync(file)) return undefined;
  try {
    const parsed = fileSchema.safeParse(JSON.parse(readFileSync(file, "utf8")));
    return parsed.success ? parsed.data : undefined;
  } catch {
    return undefined;
  }
}

/** Replaced as a whole, so that a reader never sees half of it. */
export function writeServicesFile(file: string, content: ServicesFile): void {
  writeFileSync(`${file}.new`, `${JSON.stringify(content, undefined, 2)}\n`);
  renameSync(`${file}.new`, file);
}
