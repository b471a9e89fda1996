// One read transaction of LMDB as a stream: what is committed meanwhile is not seen.
import type { StoredRecord } from "../driver.js";
import { type Environment, keys } from "./environment.js";

/** After so many records other work gets its turn: about a millisecond of reading. */
const recordsPerTurn = 256;

export interface Snapshot {
  get(key: Buffer): Buffer | undefined;
  /** Iterate once. The transaction ends with the iteration, however that ends, or when the signal aborts. */
  readonly records: AsyncIterable<StoredRecord>;
}

export function snapshotOf(db: Environment, signal: AbortSignal): Snapshot {
  const transaction = db.useReadTransaction();
  const cursor = db.getRange({ start: keys.recordsStart, end: keys.recordsEnd, transaction })[Symbol.iterator]();
  let open = true;
  const end = (): void => {
    if (!open) return;
    open = false;
    signal.removeEventListener("abort", end);
    cursor.return?.();
    transaction.done();
  };
  signal.addEventListener("abort", end, { once: true });

  async function* read(): AsyncGenerator<StoredRecord> {
    try {
      for (let count = 1; ; count += 1) {
        signal.throwIfAborted();
        const next = cursor.next();
        if (next.done === true) return;
        yield { key: keys.recordOf(next.value.key), value: next.value.value };
        if (count % recordsPerTurn === 0) await new Promise((resolve) => setImmediate(resolve));
      }
    } finally {
      end();
    }
  }
  return { get: (key) => db.get(key, { transaction }), records: read() };
}
