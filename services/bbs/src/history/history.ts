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

export interface HistoryEntry extends Happening {
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

export class History {
  readonly #bounds: HistoryBounds;
  /** Oldest first, from `#from` on; what is before that is forgotten and goes with the next tidying. */
  #entries: (HistoryEntry | undefined)[] = [];
  #from = 0;
  #characters = 0;
  #completeSinceMs: number;
  readonly #crashes = new WeakSet<Change>();

  constructor(sinceMs: EpochMs, bounds: HistoryBounds = defaultHistoryBounds) {
    this.#completeSinceMs = sinceMs;
    this.#bounds = bounds;
  }

  get size(): number {
    return this.#entries.length - this.#from;
  }

  /** Notes, when a command is decided, that its changes are a crash report's: the rows do not always tell. */
  noteCrash(changes: readonly Change[]): void {
    for (const change of changes) this.#crashes.add(change);
  }

  committed(
    changes: Iterable<{ readonly change: Change }>,
    head: { readonly clusterTimeMs: number; readonly sequence: bigint },
  ): void {
    const found: Happening[] = [];
    for (const { change } of changes) {
      const happening = happened(change, this.#crashes.has(change));
      if (happening !== undefined) found.push(happening);
    }
    // An instance that returned to its place has left another row: that is no removal.
    const returned = new Set(found.filter(({ kind }) => kind === "returned").map(({ instanceGuid }) => instanceGuid));
    for (const happening of found) {
      if (happening.kind === "removed" && returned.has(happening.instanceGuid)) continue;
      this.#entries.push({ ...happening, atMs: head.clusterTimeMs, sequence: head.sequence });
      this.#characters += charactersOf(happening);
    }
    this.#forget();
  }

  #forget(): void {
    const { events, characters } = this.#bounds;
    while (this.size > events || this.#characters > characters) {
      const oldest = this.#entries[this.#from];
      if (oldest === undefined) break;
      this.#entries[this.#from] = undefined;
      this.#from += 1;
      this.#characters -= charactersOf(oldest);
      // Others of that millisecond may be gone with it.
      this.#completeSinceMs = oldest.atMs + 1;
    }
    if (this.#from > events) {
      this.#entries = this.#entries.slice(this.#from);
      this.#from = 0;
    }
  }

  /** The newest `limit` entries whose process or task guid begins with `guidPrefix`. */
  query(guidPrefix: string, limit: number): HistoryAnswer {
    const entries: HistoryEntry[] = [];
    let more = false;
    for (let at = this.#entries.length - 1; at >= this.#from; at -= 1) {
      const entry = this.#entries[at];
      if (entry === undefined || !(entry.processGuid || entry.taskGuid).startsWith(guidPrefix)) continue;
      if (entries.length === limit) {
        more = true;
        break;
      }
      entries.push(entry);
    }
    return { entries, completeSinceMs: this.#completeSinceMs, more };
  }
}
