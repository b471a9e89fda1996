// The processes of instances as this machine sees them: by the instance guid in their environment.
import { readFileSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { systemClock } from "@muster/shared/clock";

/** Host pids of processes whose environment holds one of these instance guids. */
export async function pidsByInstance(instanceGuids: Iterable<string>): Promise<Map<string, number[]>> {
  const found = new Map<string, number[]>([...instanceGuids].map((guid) => [guid, []]));
  const pids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name));
  const environments = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/environ`, "utf8").catch(() => "")));
  for (const [at, environment] of environments.entries()) {
    const guid = /(?:^|\0)CF_INSTANCE_GUID=([^\0]*)/.exec(environment)?.[1];
    if (guid !== undefined) found.get(guid)?.push(Number(pids[at]));
  }
  return found;
}

export async function pidsOf(instanceGuid: string): Promise<number[]> {
  return (await pidsByInstance([instanceGuid])).get(instanceGuid) ?? [];
}

function runs(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    return stat.charAt(stat.lastIndexOf(")") + 2) !== "Z";
  } catch {
    return false;
  }
}

/** Notes when the processes of instances end, as wall time, at most `everyMs` late. */
export class ProcessWatch implements Disposable {
  readonly endedAtMs = new Map<string, number>();
  readonly #pids: ReadonlyMap<string, readonly number[]>;
  readonly #timer: NodeJS.Timeout;

  private constructor(pids: ReadonlyMap<string, readonly number[]>, everyMs: number) {
    this.#pids = pids;
    this.#timer = setInterval(() => this.#look(), everyMs);
  }

  static async of(instanceGuids: Iterable<string>, everyMs = 10): Promise<ProcessWatch> {
    return new ProcessWatch(await pidsByInstance(instanceGuids), everyMs);
  }

  get pids(): number[] {
    return [...this.#pids.values()].flat();
  }

  get left(): number {
    return this.#pids.size - this.endedAtMs.size;
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }

  #look(): void {
    for (const [guid, pids] of this.#pids)
      if (!this.endedAtMs.has(guid) && !pids.some(runs)) this.endedAtMs.set(guid, systemClock.nowMs());
  }
}
