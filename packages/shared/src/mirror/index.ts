// A picture of the BBS's records, kept by following its watch. "Look again" is all that its events say; deciding is the reader's part.
import type { ResumeToken, WatchRequest, WatchResponse, Change as WireChange } from "@muster/proto/muster/v1/watch";
import type { Clock } from "../clock/index.js";
import { decodeRecord, kindOfWire, recordCodecs } from "../codec/index.js";
import { BbsError, isBbsError } from "../errors/index.js";
import type { Log } from "../log/index.js";
import { asEpochMs, type Change, type EpochMs, type RecordKind, Tables, type Write } from "../model/index.js";

export interface MirrorOptions {
  /** Opens the watch; ends or throws when it breaks. */
  readonly open: (request: WatchRequest, signal: AbortSignal) => AsyncIterable<WatchResponse>;
  readonly kinds: readonly RecordKind[];
  /** Only rows and tasks of this cell. */
  readonly cellId?: string;
  readonly clock: Clock;
  readonly log: Log;
}

/**
 * Before the next attempt after a watch that broke; doubled while a BBS says that it has no room. Where none answers, the channel has
 * its own back-off below this, and a new leader is to be found soon.
 */
const retryMs = { first: 200, most: 3_200 };

/** Called after the tables hold the changes. `snapshot` is true for those a snapshot brought. */
export type ChangesListener = (changes: readonly Change[], snapshot: boolean) => void;

export class Mirror {
  readonly tables = new Tables();
  readonly #options: MirrorOptions;
  readonly #listeners = new Set<ChangesListener>();
  #token: ResumeToken | undefined;
  #synced = false;
  #waiters: (() => void)[] = [];
  #snapshot: Map<string, Write> | undefined;
  #clusterTimeMs = 0;
  #clusterTimeAtMs = 0;
  /** The store that is followed, and the newest leader of it that was seen. */
  #incarnation: string | undefined;
  #leaderEpoch = 0n;
  #left = new Set<string>();
  /** Whether this attempt has brought the mirror forward: a refusal after `reset` has not. */
  #heard = false;

  constructor(options: MirrorOptions) {
    this.#options = options;
  }

  /** Whether the tables have been complete at least once since the last reset. They stay readable meanwhile. */
  get synced(): boolean {
    return this.#synced;
  }

  /** The state the tables stand at. */
  get token(): ResumeToken | undefined {
    return this.#token;
  }

  /** Cluster time: that of the last message plus our own elapsed time (rule T1). Meaningless before the first sync. */
  nowMs(): EpochMs {
    return asEpochMs(this.#clusterTimeMs + (this.#options.clock.elapsedMs() - this.#clusterTimeAtMs));
  }

  onChanges(listener: ChangesListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Resolves at the first complete picture. */
  whenSynced(): Promise<void> {
    if (this.#synced) return Promise.resolve();
    return new Promise((resolve) => this.#waiters.push(resolve));
  }

  /** Follows the watch until the signal aborts; reconnects with its token for ever. */
  async run(signal: AbortSignal): Promise<void> {
    let waitMs = retryMs.first;
    while (!signal.aborted) {
      const { clock, log } = this.#options;
      let full = false;
      this.#heard = false;
      try {
        await this.#follow(signal);
      } catch (err) {
        if (signal.aborted) return;
        full = isBbsError(err, "ResourceExhausted") && !this.#heard;
        log.debug({ err, retry_ms: waitMs }, "watch broke");
      }
      this.#snapshot = undefined;
      if (!full) waitMs = retryMs.first;
      await clock.sleep(waitMs, signal).catch(() => undefined);
      waitMs = Math.min(retryMs.most, 2 * waitMs);
    }
  }

  async #follow(signal: AbortSignal): Promise<void> {
    const { open, kinds, cellId } = this.#options;
    const wireKinds = kinds.map((kind) => recordCodecs[kind].wireKind).filter((kind) => kind !== undefined);
    for await (const message of open({ after: this.#token, kinds: wireKinds, cellId: cellId ?? "" }, signal)) this.take(message);
  }

  /**
   * Takes one message of the watch; public for the simulator. @throws BbsError on a leader older than one already seen, and on a store
   * that was left (rule T2).
   */
  take(response: WatchResponse): void {
    this.#believe(response);
    const { message } = response;
    this.#heard ||= message !== undefined && message.$case !== "reset";
    switch (message?.$case) {
      case "reset":
        // The tables stand where they stood until the snapshot is complete, and so does the token.
        this.#options.log.info({ reason: message.value.reason }, "watch reset");
        this.#snapshot = new Map();
        return;
      case "snapshot":
        this.#snapshot ??= new Map();
        for (const change of message.value.changes) this.#collect(change);
        return;
      case "synced":
        this.#finishSnapshot(message.value.token);
        return;
      case "commit":
        this.#token = message.value.token;
        this.#publish(
          message.value.changes.flatMap((change) => this.#applied(change)),
          false,
        );
        return;
      case "progress":
        this.#token = message.value.token;
        return;
      default:
    }
  }

  /** Only a token tells of which store a message is, so a reset and its snapshot are judged when they are complete: nothing rests on them before. */
  #believe(response: WatchResponse): void {
    const token = tokenOf(response);
    if (token === undefined) return;
    if (this.#incarnation !== undefined && token.incarnation !== this.#incarnation) {
      if (this.#left.has(token.incarnation)) throw new BbsError("Unavailable", "an incarnation of the store that was left", {});
      this.#left.add(this.#incarnation);
      this.#leaderEpoch = 0n;
    }
    if (response.leaderEpoch < this.#leaderEpoch) throw new BbsError("Unavailable", "an older leader answered", {});
    this.#incarnation = token.incarnation;
    this.#leaderEpoch = response.leaderEpoch;
    this.#clusterTimeMs = Number(response.clusterTimeMs);
    this.#clusterTimeAtMs = this.#options.clock.elapsedMs();
  }

  #collect(change: WireChange): void {
    const write = writeOf(change);
    if (write !== undefined) this.#snapshot?.set(`${write.kind}/${write.key}`, write);
  }

  #finishSnapshot(token: ResumeToken | undefined): void {
    const snapshot = this.#snapshot ?? new Map<string, Write>();
    const changes: Change[] = [];
    for (const kind of this.#options.kinds) {
      for (const key of [...this.tables.all(kind).keys()]) {
        if (!snapshot.has(`${kind}/${key}`)) changes.push(this.tables.apply({ kind, key, record: undefined } as Write));
      }
    }
    for (const write of snapshot.values()) changes.push(this.tables.apply(write));
    this.#snapshot = undefined;
    this.#token = token;
    this.#synced = true;
    this.#publish(changes, true);
    for (const wake of this.#waiters.splice(0)) wake();
  }

  #applied(change: WireChange): Change[] {
    const write = writeOf(change);
    return write === undefined ? [] : [this.tables.apply(write)];
  }

  #publish(changes: readonly Change[], snapshot: boolean): void {
    if (changes.length === 0 && !snapshot) return;
    for (const listener of this.#listeners) listener(changes, snapshot);
  }
}

function tokenOf({ message }: WatchResponse): ResumeToken | undefined {
  return message?.$case === "synced" || message?.$case === "commit" || message?.$case === "progress"
    ? message.value.token
    : undefined;
}

function writeOf(change: WireChange): Write | undefined {
  const kind = kindOfWire(change.kind);
  if (kind === undefined) return undefined;
  return { kind, key: change.key, record: change.record === undefined ? undefined : decodeRecord(kind, change.record) } as Write;
}
