// What happened lately, kept by the active BBS in memory alone: a ring fed by commits, read by `muster events`. It dies with the term,
// and says since when it knows.
import type { Change, EpochMs } from "@muster/shared/model";
import { type Happening, happened } from "./happened.js";

export interface HistoryBounds {
  readonly events: number;
  /** Characters of guids and reasons together. */
  readonly characters: number;
}

/** Some 10 MB at most, whatever happens; the oldest go first. */
export const defaultHistoryBounds: HistoryBounds = { events: 20_000, characters: 8 * 1024 * 1024 };

export interface HistoryEntry {
  readonly happening: Happening;
  /** Cluster time of the commit. */
  readonly atMs: number;
  readonly sequence: bigint;
}

export interface HistoryAnswer {
  /** Newest first. */
  readonly entries: readonly HistoryEntry[];
  /** From then on nothing is missing. */
  readonly completeSinceMs: number;
  readonly more: boolean;
}

const charactersOf = ({ processGuid, taskGuid, instanceGuid, cellId, reason }: Happening): number =>
  processGuid.length + taskGuid.length + instanceGuid.length + cellId.length + reason.length;

/** Every commit of the cluster comes by here: what is done for each change is kept small. */
export class History {
  readonly #bounds: HistoryBounds;
  /** A ring: the oldest of `#size` entries is at `#oldest`. */
  readonly #ring: (HistoryEntry | undefined)[] = [];
  #oldest = 0;
  #size = 0;
  #characters = 0;
  #completeSinceMs: number;
  /** Changes of crash reports that are decided and may not be committed yet. */
  readonly #crashes = new WeakSet<Change>();

  constructor(sinceMs: EpochMs, bounds: HistoryBounds = defaultHistoryBounds) {
    this.#completeSinceMs = sinceMs;
    this.#bounds = bounds;
  }

  get size(): number {
    return this.#size;
  }

  /** Notes, when a command is decided, that its changes are a crash report's: the rows do not always tell. */
  noteCrash(changes: readonly Change[]): void {
    for (const change of changes) this.#crashes.add(change);
  }

  committed(
    changes: Iterable<{ readonly change: Change }>,
    head: { readonly clusterTimeMs: number; readonly sequence: bigint },
  ): void {
    // An instance that returns to its place leaves another row in the same commit: that is no removal.
    let removed: Happening[] | undefined;
    let returned: Set<string> | undefined;
    for (const { change } of changes) {
      const happening = happened(change, this.#crashes);
      if (happening === undefined) continue;
      if (happening.kind === "removed") {
        removed ??= [];
        removed.push(happening);
        continue;
      }
      if (happening.kind === "returned") {
        returned ??= new Set();
        returned.add(happening.instanceGuid);
      }
      this.#add(happening, head.clusterTimeMs, head.sequence);
    }
    for (const happening of removed ?? [])
      if (returned?.has(happening.instanceGuid) !== true) this.#add(happening, head.clusterTimeMs, head.sequence);
  }

  #add(happening: Happening, atMs: number, sequence: bigint): void {
    const { events, characters } = this.#bounds;
    this.#characters += charactersOf(happening);
    while (this.#size > 0 && (this.#size >= events || this.#characters > characters)) this.#forgetOldest();
    this.#ring[(this.#oldest + this.#size) % events] = { happening, atMs, sequence };
    this.#size += 1;
  }

  #forgetOldest(): void {
    const oldest = this.#ring[this.#oldest];
    this.#ring[this.#oldest] = undefined;
    this.#oldest = (this.#oldest + 1) % this.#bounds.events;
    this.#size -= 1;
    if (oldest === undefined) return;
    this.#characters -= charactersOf(oldest.happening);
    // Others of that millisecond may be gone with it.
    this.#completeSinceMs = oldest.atMs + 1;
  }

  /** The newest `limit` entries whose process or task guid begins with `guidPrefix`. */
  query(guidPrefix: string, limit: number): HistoryAnswer {
    const entries: HistoryEntry[] = [];
    let more = false;
    for (let nth = this.#size - 1; nth >= 0; nth -= 1) {
      const entry = this.#ring[(this.#oldest + nth) % this.#bounds.events];
      if (entry === undefined || !guidOf(entry.happening).startsWith(guidPrefix)) continue;
      if (entries.length === limit) {
        more = true;
        break;
      }
      entries.push(entry);
    }
    return { entries, completeSinceMs: this.#completeSinceMs, more };
  }
}

const guidOf = ({ processGuid, taskGuid }: Happening): string => (processGuid === "" ? taskGuid : processGuid);
