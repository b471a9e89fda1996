// One watch: resume from history where it reaches, else a reset and a snapshot; then commits and progress marks, until cut.
import {
  type ResumeToken,
  type WatchRequest,
  WatchResponse,
  WatchServiceService,
  type Change as WireChange,
} from "@muster/proto/muster/v1/watch";
import type { Clock } from "@muster/shared/clock";
import { encodeRecord, kindOfWire, recordCodecs, toBuffer } from "@muster/shared/codec";
import { BbsError } from "@muster/shared/errors";
import { asCellId, type RecordKind, rowKeyOf } from "@muster/shared/model";
import type { CoreState } from "../core/decision.js";
import type { Journal } from "../journal/journal.js";
import type { Delivery, WatchFilter } from "./entry.js";
import type { Audience, Feed } from "./feed.js";
import type { Slots } from "./slots.js";
import { turns } from "./turns.js";
import type { Watcher } from "./watcher.js";

export interface WatchSource {
  readonly journal: Journal;
  readonly feed: Feed;
  readonly clock: Clock;
  /** Snapshots under way in this BBS. */
  readonly snapshots: Slots;
}

/** Small, so that a slow line shows progress and no tick is long: a consumer may have some sixteen of them on the way. */
const chunkBytes = 64 * 1024;
/** An idle watcher hears from us this often: progress and cluster time. */
const progressMs = 2_000;
/** A snapshot whose consumer takes nothing for so long is cut. */
export const snapshotStallMs = 5_000;

/** What has a cell; all that a watch by cell shows unless more is asked for. */
const kindsOfCell: ReadonlySet<RecordKind> = new Set(["actualLRP", "task"]);

/** @throws BbsError InvalidRequest for kinds that nobody knows: a watch of nothing would look like one of everything. */
function filterOf(request: WatchRequest): WatchFilter {
  const cellId = request.cellId === "" ? undefined : asCellId(request.cellId);
  const kinds = new Set<RecordKind>(request.kinds.length === 0 && cellId !== undefined ? kindsOfCell : []);
  for (const wire of request.kinds) {
    const kind = kindOfWire(wire);
    if (kind === undefined) throw new BbsError("InvalidRequest", "kinds names what is no kind of record", { kind: wire });
    kinds.add(kind);
  }
  return { name: `${[...kinds].sort().join(",")}/${cellId ?? ""}`, kinds, cellId };
}

/** What each commit looked like on the wire the last time somebody was sent it. */
const sent = new WeakMap<Delivery, WatchResponse>();
const encoded = new WeakMap<WatchResponse, Buffer>();
/** A message tells the cluster time; one for a consumer far behind is made anew. */
const freshMs = 250;

/** The rpc, with a message that goes to many watchers encoded once. */
export const sharedWatchService = {
  watch: {
    ...WatchServiceService.watch,
    responseSerialize: (response: WatchResponse): Buffer => {
      const known = encoded.get(response);
      if (known !== undefined) return known;
      const bytes = toBuffer(WatchResponse.encode(response).finish());
      if (response.message?.$case === "commit") encoded.set(response, bytes);
      return bytes;
    },
  },
};

const tooSlow = (): BbsError => new BbsError("ResourceExhausted", "the watch fell behind; resume with the last token");
const stalled = (): BbsError =>
  new BbsError("ResourceExhausted", `the snapshot was not taken for ${snapshotStallMs} ms; ask again when you can`);
const closed = (): BbsError => new BbsError("Unavailable", "this BBS stops serving; resume at the next");

type Message = NonNullable<WatchResponse["message"]>;

export interface Watching {
  readonly audience: Audience;
  readonly signal: AbortSignal;
  /** Ends the stream from outside, while its consumer takes nothing and the generator therefore waits to go on. */
  readonly cut?: (error: BbsError) => void;
}

/**
 * Serves one watch until its consumer leaves.
 * @throws BbsError ResourceExhausted when too many snapshots are under way, or when the consumer fell behind.
 */
export async function* watch(
  source: WatchSource,
  request: WatchRequest,
  { audience, signal, cut = () => undefined }: Watching,
): AsyncGenerator<WatchResponse, void, undefined> {
  const filter = filterOf(request);
  const { journal, feed } = source;
  const say = (message: Message): WatchResponse => ({
    message,
    clusterTimeMs: BigInt(Math.round(journal.nowMs())),
    leaderEpoch: journal.head.leaderEpoch,
  });
  const token = (sequence: bigint): ResumeToken => ({ incarnation: journal.head.incarnation, sequence });
  let watcher = resumed(source, filter, audience, request.after);
  let fromSequence = request.after?.sequence ?? 0n;
  const endWhenCut = (joined: Watcher): void => joined.whenCut((why) => cut(why === "slow" ? tooSlow() : closed()));
  try {
    if (watcher === undefined) {
      if (request.after !== undefined) yield say({ $case: "reset", value: { reason: resetReason(source, request.after) } });
      await source.snapshots.take(source.clock, signal);
      let stopTimer: () => void = () => undefined;
      try {
        const snapshot = await takeSnapshot(source, filter, audience);
        watcher = snapshot.watcher;
        endWhenCut(watcher);
        fromSequence = snapshot.sequence;
        for (const changes of snapshot.chunks()) {
          stopTimer();
          stopTimer = source.clock.after(snapshotStallMs, () => cut(stalled()));
          yield say({ $case: "snapshot", value: { changes } });
          await turns.next();
        }
      } finally {
        stopTimer();
        source.snapshots.give();
      }
      yield say({ $case: "synced", value: { token: token(fromSequence) } });
    } else {
      endWhenCut(watcher);
      // The leadership is confirmed before a word is said, also to one who resumes.
      await journal.read(() => undefined);
      yield say({ $case: "progress", value: { token: request.after } });
    }
    yield* follow(source, watcher, fromSequence, say, token, signal);
  } finally {
    if (watcher !== undefined) feed.leave(watcher);
  }
}

function resumed(
  { journal, feed }: WatchSource,
  filter: WatchFilter,
  audience: Audience,
  after: ResumeToken | undefined,
): Watcher | undefined {
  if (after === undefined || after.incarnation !== journal.head.incarnation) return undefined;
  return feed.resume(filter, audience, after.sequence);
}

const resetReason = ({ journal, feed }: WatchSource, after: ResumeToken): string => {
  if (after.incarnation !== journal.head.incarnation) return "the store is another incarnation";
  return after.sequence > feed.lastSequence ? "the token is of the future" : "history does not reach back so far";
};

interface Snapshot {
  readonly sequence: bigint;
  readonly watcher: Watcher;
  readonly chunks: () => Iterable<WireChange[]>;
}

/** Collects references in one tick (records are immutable), joins the feed in the same tick, and waits until all of it is durable. */
async function takeSnapshot(source: WatchSource, filter: WatchFilter, audience: Audience): Promise<Snapshot> {
  let watcher: Watcher | undefined;
  try {
    const { reply, sequence } = await source.journal.readSealed((state) => {
      watcher = source.feed.join(filter, audience);
      return matching(state, filter);
    });
    if (watcher === undefined) throw new BbsError("Unavailable", "the feed is closed");
    return { sequence, watcher, chunks: () => chunksOf(reply) };
  } catch (error) {
    if (watcher !== undefined) source.feed.leave(watcher);
    throw error;
  }
}

interface Picked {
  readonly kind: RecordKind;
  readonly key: string;
  readonly record: unknown;
}

function matching(state: CoreState, filter: WatchFilter): Picked[] {
  const picked: Picked[] = [];
  const { tables } = state;
  for (const kind of Object.keys(recordCodecs) as RecordKind[]) {
    if (recordCodecs[kind].wireKind === undefined || (filter.kinds.size > 0 && !filter.kinds.has(kind))) continue;
    if (filter.cellId !== undefined && kind === "actualLRP") {
      for (const row of tables.rowsOnCell(filter.cellId)) picked.push({ kind, key: rowKeyOf(row), record: row });
    } else if (filter.cellId !== undefined && kind === "task") {
      for (const task of tables.tasksOnCell(filter.cellId)) picked.push({ kind, key: task.taskGuid, record: task });
    } else for (const [key, record] of tables.all(kind)) picked.push({ kind, key, record });
  }
  return picked;
}

function* chunksOf(picked: readonly Picked[]): Iterable<WireChange[]> {
  let chunk: WireChange[] = [];
  let bytes = 0;
  for (const { kind, key, record } of picked) {
    const wireKind = recordCodecs[kind].wireKind;
    if (wireKind === undefined) continue;
    const encoded = toBuffer(encodeRecord(kind, record as never));
    if (bytes + encoded.byteLength > chunkBytes && chunk.length > 0) {
      yield chunk;
      chunk = [];
      bytes = 0;
    }
    chunk.push({ kind: wireKind, key, record: encoded });
    bytes += encoded.byteLength + key.length;
  }
  if (chunk.length > 0) yield chunk;
}

async function* follow(
  source: WatchSource,
  watcher: Watcher,
  fromSequence: bigint,
  say: (message: Message) => WatchResponse,
  token: (sequence: bigint) => ResumeToken,
  signal: AbortSignal,
): AsyncGenerator<WatchResponse, void, undefined> {
  const { clock, feed, journal } = source;
  const wake = (): void => watcher.wake();
  const quiet = new QuietTimer(clock, wake);
  signal.addEventListener("abort", wake, { once: true });
  try {
    while (!signal.aborted) {
      const delivery = watcher.take();
      if (delivery !== undefined) {
        // Commits that were under way when the snapshot was taken are part of it.
        if (delivery.sequence <= fromSequence) continue;
        yield responseTo(delivery, journal, say, token);
        quiet.begin();
      } else if (watcher.cut !== undefined) throw watcher.cut === "slow" ? tooSlow() : closed();
      else if (quiet.over) {
        // Nothing pending: everything up to the last commit was delivered or does not match.
        await journal.read(() => undefined);
        feed.tell();
        if (watcher.idle) yield say({ $case: "progress", value: { token: token(feed.lastSequence) } });
        quiet.begin();
      } else await watcher.more();
    }
  } finally {
    quiet.stop();
    signal.removeEventListener("abort", wake);
  }
}

/** The same message for everybody with the same filter, as long as its time is fresh. */
function responseTo(
  delivery: Delivery,
  journal: Journal,
  say: (message: Message) => WatchResponse,
  token: (sequence: bigint) => ResumeToken,
): WatchResponse {
  const known = sent.get(delivery);
  if (known !== undefined && journal.nowMs() - Number(known.clusterTimeMs) <= freshMs) return known;
  const response = say({ $case: "commit", value: { token: token(delivery.sequence), changes: [...delivery.changes] } });
  sent.set(delivery, response);
  return response;
}

/** Says when nothing was sent for the progress interval. One timer goes on whatever is sent: one for each message would cost more than it. */
class QuietTimer {
  readonly #clock: Clock;
  readonly #tell: () => void;
  #sinceMs: number;
  #over = false;
  #cancel: () => void = () => undefined;

  constructor(clock: Clock, tell: () => void) {
    this.#clock = clock;
    this.#tell = tell;
    this.#sinceMs = clock.elapsedMs();
    this.#wait(progressMs);
  }

  get over(): boolean {
    return this.#over;
  }

  /** Something was sent. */
  begin(): void {
    this.#sinceMs = this.#clock.elapsedMs();
    if (!this.#over) return;
    this.#over = false;
    this.#wait(progressMs);
  }

  #wait(ms: number): void {
    this.#cancel = this.#clock.after(ms, () => {
      const leftMs = this.#sinceMs + progressMs - this.#clock.elapsedMs();
      if (leftMs > 0) {
        this.#wait(leftMs);
        return;
      }
      this.#over = true;
      this.#tell();
    });
  }

  stop(): void {
    this.#cancel();
  }
}
