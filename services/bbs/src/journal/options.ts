// What a journal is given, and what it gives to those who follow it.
import type { Clock, Entropy } from "@muster/shared/clock";
import type { BbsError } from "@muster/shared/errors";
import type { Log } from "@muster/shared/log";
import type { Change, Write } from "@muster/shared/model";
import type { Head, Leadership, StoreDriver } from "@muster/store";
import type { CoreState, DecisionContext } from "../core/decision.js";
import type { CommandHints, CommandNote } from "../events/note.js";
import type { Batch } from "./batch.js";

export interface CommittedBatch {
  readonly head: Head;
  readonly changes: Batch["changes"];
  readonly notes: readonly CommandNote[];
}

/** Where a command came from. */
export interface CommandOrigin {
  /** The caller's trace id, for calls whose events carry it in Diego. */
  readonly traceId?: string | undefined;
}

export interface JournalMetrics {
  committed(writes: number, durationMs: number): void;
  resent(): void;
  /** A lock or presence was not renewed in time. */
  expired?(kind: "lock" | "presence"): void;
}

export interface JournalOptions {
  readonly store: StoreDriver;
  readonly leadership: Leadership;
  readonly head: Head;
  readonly state: CoreState;
  readonly clock: Clock;
  readonly entropy: Entropy;
  readonly log: Log;
  readonly secrets: Pick<DecisionContext, "open" | "seal">;
  readonly metrics: JournalMetrics;
  /**
   * Calls `run` soon, once what was just handed to the store is on its way (`whenSent`): the store works on the next commit while
   * the replies of the last go out. Absent: replies go out first, all in one tick, as the simulator needs it.
   */
  readonly whenSent?: ((run: () => void) => void) | undefined;
  /** Called for every command right after its writes were applied; what it gives comes back with the commit. */
  readonly note?: ((changes: readonly Change[], hints: CommandHints) => CommandNote | undefined) | undefined;
  /** Asked before a command's writes are taken; throws what the command is refused with. For what depends on the store, not the records. */
  readonly admit?: ((tables: CoreState["tables"], writes: readonly Write[]) => void) | undefined;
  /** Called for every commit, in order, before the replies that rest on it are released. */
  readonly onCommitted: (batch: CommittedBatch) => void;
  /** The leadership is lost: serve nothing any more. */
  readonly onFenced: (cause: BbsError) => void;
  /** The store refused a write for good: the tables hold what is not stored and must be loaded anew, then `resumeReading`. */
  readonly onRefused: (cause: BbsError) => void;
}
