// The truth of a run: what the store holds, seen from the store itself, and every change in the order in which it was decided.
import { decodeRecord, parseStoreKey } from "@muster/shared/codec";
import { type Change, Tables, type Write } from "@muster/shared/model";
import type { CommitResult, Head, StoreBatch } from "@muster/store";
import type { MemoryStore } from "@muster/store/memory";

export interface TruthListener {
  /** A commit is durable; `truth.tables` hold it already. A record written twice in one commit shows only as it is at the end. */
  committed(changes: readonly Change[], head: Head): void;
  /** One change of a commit, as the active BBS decided it; `truth.decided` holds it and nothing that was decided later. */
  decided(change: Change, head: Head): void;
  /** Every change of a commit has been told. */
  decidedAll(): void;
}

interface Commit {
  readonly sequence: bigint;
  readonly writes: readonly Write[];
}

export class Truth {
  /** What the store holds. */
  readonly tables = new Tables();
  /** The same, one change after the other. */
  readonly decided = new Tables();
  readonly #listener: TruthListener;
  /** Durable, and not yet told by the BBS that decided it. */
  #untold: Commit | undefined;
  #head: Head | undefined;

  /** Follows `store` from its birth on. */
  constructor(store: MemoryStore, listener: TruthListener) {
    this.#listener = listener;
    const apply = store.apply.bind(store);
    store.apply = (batch: StoreBatch, name: string, term: number): CommitResult => {
      const before = store.head;
      const result = apply(batch, name, term);
      if (store.head !== before) this.#commit(batch);
      return result;
    };
  }

  get head(): Head | undefined {
    return this.#head;
  }

  /** The BBS tells what it decided in its last commit. */
  told(head: Head, changes: readonly Change[]): void {
    if (this.#untold?.sequence !== head.sequence) return;
    this.#untold = undefined;
    for (const { kind, key, after } of changes) {
      const change = this.decided.apply({ kind, key, record: after } as Write);
      this.#listener.decided(change, head);
    }
    this.#listener.decidedAll();
  }

  #commit(batch: StoreBatch): void {
    // The BBS that decided the last one died before it could tell.
    if (this.#untold !== undefined) this.decided.applyAll(this.#untold.writes);
    const writes = batch.writes.flatMap(({ key, value }) => writeOf(key, value));
    this.#head = batch.to;
    this.#untold = { sequence: batch.to.sequence, writes };
    this.#listener.committed(this.tables.applyAll(writes), batch.to);
  }
}

function writeOf(storeKey: string, value: Uint8Array | undefined): Write[] {
  const parsed = parseStoreKey(storeKey);
  if (parsed === undefined) return [];
  const record = value === undefined ? undefined : decodeRecord(parsed.kind, value);
  return [{ kind: parsed.kind, key: parsed.key, record } as Write];
}
