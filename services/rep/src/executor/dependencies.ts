// Makes what is mounted into a container ready, all at once, before the container is made (cell.md section 6).
import type { LentFolder } from "@muster/garden";
import type { Log } from "@muster/shared/log";
import type { Transfers } from "../assets/transfers.js";
import { byteText, type ContainerRecord, type Dependency, errorLine } from "../plan/index.js";
import type { Voice } from "./voice.js";

export interface DependencyOptions {
  readonly transfers: Transfers;
  readonly voice: Voice;
  readonly log: Log;
}

/** Resolves when none is under way any more: with their folders, or with `undefined` when one could not be had, or the signal aborted. */
export async function prepareDependencies(
  options: DependencyOptions,
  record: ContainerRecord,
  dependencies: readonly Dependency[],
  signal: AbortSignal,
): Promise<LentFolder[] | undefined> {
  const prepared = dependencies.map((dependency) => prepare(options, record, dependency, signal));
  const folders = await Promise.all(prepared);
  return folders.every((folder) => folder !== undefined) ? folders : undefined;
}

/** Without a name nothing is said but failures. */
async function prepare(
  { transfers, voice, log }: DependencyOptions,
  record: ContainerRecord,
  dependency: Dependency,
  signal: AbortSignal,
): Promise<LentFolder | undefined> {
  const { name, logSource, to } = dependency;
  const say = (text: string): void => {
    if (name !== "") voice.sayAs(record, logSource, text, "stdout");
  };
  say(`Downloading ${name}...`);
  try {
    const { folder, bytes } = await transfers.prepare(dependency, record.instanceGuid, signal);
    say(`Downloaded ${name}${bytes === undefined ? "" : ` (${byteText(bytes)})`}`);
    return { folder, containerDir: to };
  } catch (err) {
    if (signal.aborted) return undefined;
    voice.sayAs(record, logSource, errorLine(err instanceof Error ? err.message : String(err)), "stderr");
    log.warn({ err, instance_guid: record.instanceGuid, step: name }, "a cached dependency could not be fetched");
    return undefined;
  }
}
