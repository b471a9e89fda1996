// Key rotation: what another key than the active one has sealed is sealed anew while the BBS serves, in small commands like any
// other's, each of which looks at the record as it is then. Interrupted at any point, the next start finds the rest by the labels.
import type { Clock } from "@muster/shared/clock";
import { BbsError, isBbsError, OperatorError } from "@muster/shared/errors";
import type { Log } from "@muster/shared/log";
import { type Change, put, type RunInfo, type SealedBytes, type TaskDefinition, type Write } from "@muster/shared/model";
import type { Command } from "../core/decision.js";
import type { Journal } from "../journal/journal.js";
import type { KeyRing } from "./index.js";

/** The kinds of record that have a sealed part. */
export type SealedKind = "runInfo" | "taskDefinition";

export const isSealed = (change: Change): change is Extract<Change, { kind: SealedKind }> =>
  change.kind === "runInfo" || change.kind === "taskDefinition";

export interface SealedKey {
  readonly kind: SealedKind;
  readonly key: string;
}

/** One command seals so much anew: a few milliseconds of work, and small beside what a commit carries. */
const maxRecords = 50;
const maxBytes = 256 * 1024;
/** Looks at so many keys at most, also where nothing is to be done for them. */
const maxLooks = 1_000;
/** After a command that was not admitted. */
const retryMs = 500;
const progressMs = 5_000;
/** So many records of a label are tried before its key counts as the wrong one: single records may be damaged. */
const samplesPerLabel = 5;

/** Looks at every sealed record while it is loaded: which keys are needed, and what is to be sealed anew. */
export class SealSurvey {
  readonly #ring: KeyRing;
  readonly #samples = new Map<string, SealedBytes[]>();
  readonly #counts = new Map<string, number>();
  /** Sealed by another key than the active one. */
  readonly stale: SealedKey[] = [];
  /** So cut or altered that not even its label can be read. */
  unreadable = 0;

  constructor(ring: KeyRing) {
    this.#ring = ring;
  }

  get labels(): readonly string[] {
    return [...this.#counts.keys()].sort();
  }

  see(kind: SealedKind, key: string, sealed: SealedBytes): void {
    let label: string;
    try {
      label = this.#ring.labelOf(sealed);
    } catch {
      this.unreadable += 1;
      return;
    }
    this.#counts.set(label, (this.#counts.get(label) ?? 0) + 1);
    const samples = this.#samples.get(label) ?? [];
    if (samples.length < samplesPerLabel) this.#samples.set(label, [...samples, sealed]);
    if (label !== this.#ring.activeLabel) this.stale.push({ kind, key });
  }

  /** @throws OperatorError naming the label whose key is missing, or is another than the one that sealed. */
  check(): void {
    for (const [label, count] of this.#counts) {
      if (!this.#ring.knows(label)) {
        throw new OperatorError(
          `${count} stored records are sealed under the encryption key ${JSON.stringify(label)}, which is not among the keys`,
          "add the key with this label to encryption_keys (in a home: keys.json); it may go once everything has been sealed anew",
        );
      }
      if (this.#samples.get(label)?.every((sealed) => !this.#opens(sealed)) === true) {
        throw new OperatorError(
          `the encryption key ${JSON.stringify(label)} does not open what was sealed under this label`,
          "give the label the passphrase it had when the records were written",
        );
      }
    }
  }

  #opens(sealed: SealedBytes): boolean {
    try {
      this.#ring.open(sealed);
      return true;
    } catch {
      return false;
    }
  }
}

interface Resealed {
  /** How many of the keys are dealt with. */
  readonly taken: number;
  readonly sealed: number;
  readonly unreadable: number;
}

/** Seals the first of these records anew: those that are still there and still under another key. */
export const resealNext =
  (ring: KeyRing, keys: readonly SealedKey[]): Command<Resealed> =>
  (state) => {
    const writes: Write[] = [];
    let [taken, bytes, unreadable] = [0, 0, 0];
    for (const { kind, key } of keys) {
      if (taken === maxLooks || writes.length === maxRecords) break;
      const record: RunInfo | TaskDefinition | undefined = state.tables.get(kind, key);
      if (record !== undefined && ring.labelOf(record.sealed) !== ring.activeLabel) {
        if (writes.length > 0 && bytes + record.sealed.byteLength > maxBytes) break;
        try {
          writes.push(put(kind, { ...record, sealed: ring.seal(ring.open(record.sealed)) } as never));
          bytes += record.sealed.byteLength;
        } catch (error) {
          if (!isBbsError(error, "Deserialize")) throw error;
          unreadable += 1;
        }
      }
      taken += 1;
    }
    return { writes, reply: { taken, sealed: writes.length, unreadable } };
  };

export interface ResealOptions {
  readonly journal: Pick<Journal, "submit">;
  readonly ring: KeyRing;
  readonly clock: Clock;
  readonly log: Log;
  /** The term ends. */
  readonly signal: AbortSignal;
}

/** Works through `keys`. Resolves with the milliseconds it took, or `undefined` when the term ended before. */
export async function resealAll(options: ResealOptions, keys: readonly SealedKey[]): Promise<number | undefined> {
  const { ring, clock, log, signal } = options;
  const startedMs = clock.elapsedMs();
  let toldMs = startedMs;
  let [at, sealed, skipped] = [0, 0, 0];
  log.info({ records: keys.length, label: ring.activeLabel }, "sealing stored records anew under the active key");
  while (at < keys.length && !signal.aborted) {
    const done = await sealSome(options, keys.slice(at, at + maxLooks));
    if (done === undefined) continue;
    at += done.taken;
    sealed += done.sealed;
    skipped += done.unreadable;
    if (clock.elapsedMs() - toldMs < progressMs) continue;
    toldMs = clock.elapsedMs();
    log.info({ records: sealed, left: keys.length - at }, "sealing stored records anew goes on");
  }
  if (signal.aborted) return undefined;
  const durationMs = clock.elapsedMs() - startedMs;
  const facts = { records: sealed, skipped, duration_ms: Math.round(durationMs), label: ring.activeLabel };
  if (skipped > 0) log.warn(facts, "stored records are sealed anew but for those that cannot be opened");
  else log.info(facts, "all stored records are sealed under the active key, older keys may be dropped");
  return durationMs;
}

/** `undefined`: nothing was written, try again. */
async function sealSome(options: ResealOptions, keys: readonly SealedKey[]): Promise<Resealed | undefined> {
  const { journal, ring, clock, log, signal } = options;
  try {
    return await journal.submit(resealNext(ring, keys));
  } catch (err) {
    // Too large for the store with the longer label of the new key; it stays as it is.
    if (isBbsError(err, "InvalidRequest")) return { taken: 1, sealed: 0, unreadable: 1 };
    if (!(err instanceof BbsError)) throw err;
    log.debug({ err, retry_ms: retryMs }, "sealing anew waits for the store");
    await clock.sleep(retryMs, signal).catch(() => undefined);
    return undefined;
  }
}
