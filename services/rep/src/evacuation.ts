// Emptying the cell (cell.md section 4; races.md E1-E3): remembered, bounded in time, and taken back when asked. What is reported of each
// container is the harmonizer's part; here is whether the cell evacuates at all, since when, and what happens when the time is over.
import type { EvacuateResponse, EvacuationBlocker } from "@muster/proto/muster/v1/rep";
import type { Clock } from "@muster/shared/clock";
import type { Log } from "@muster/shared/log";
import type { InstanceGuid } from "@muster/shared/model";
import type { Executor } from "./executor/executor.js";
import { texts } from "./plan/index.js";
import type { Registry } from "./registry.js";

export interface EvacuationOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly cellId: string;
  readonly registry: Registry;
  readonly executor: Executor;
  readonly timeoutMs: number;
  /** Whether the cell was evacuating when its last rep ended. */
  readonly begun: boolean;
  /** Writes it down where the next rep finds it (E2). */
  readonly remember: (evacuating: boolean) => void;
  /** It began or was taken back. */
  readonly onChange: (evacuating: boolean) => void;
  /** Evacuating rows of this cell when the time was over. */
  readonly countStranded: () => number;
  readonly onStranded: (count: number) => void;
  readonly blockers: () => EvacuationBlocker[];
}

export class Evacuation {
  readonly #options: EvacuationOptions;
  #active: boolean;
  #sinceMs: number;
  #timedOut = false;
  #cancelTimer: () => void = () => undefined;

  constructor(options: EvacuationOptions) {
    this.#options = options;
    this.#active = options.begun;
    this.#sinceMs = options.clock.elapsedMs();
    options.registry.onChange((guid, record, before) => {
      // Told once for each, when the cell first asks for its replacement; an adopted one was told by the last rep.
      if (this.#active && record?.state === "running" && before !== undefined && before.state !== "running") this.#announce(guid);
    });
    if (this.#active) this.#setTimer();
  }

  get active(): boolean {
    return this.#active;
  }

  get timedOut(): boolean {
    return this.#active && this.#timedOut;
  }

  /** Idempotent. */
  start(): void {
    if (this.#active) return;
    const { clock, log, remember, onChange, registry, onStranded } = this.#options;
    // Written first: an answered request holds, whatever becomes of this rep.
    remember(true);
    this.#active = true;
    this.#timedOut = false;
    this.#sinceMs = clock.elapsedMs();
    onStranded(0);
    log.info({ count: registry.size }, "evacuation begun");
    for (const record of registry.all())
      if (record.task === undefined && record.state === "running") this.#announce(record.instanceGuid);
    this.#setTimer();
    onChange(true);
  }

  /** Takes it back; a cell that does not evacuate stays as it is. What was told to stop meanwhile goes nevertheless. */
  cancel(): void {
    if (!this.#active) return;
    const { log, remember, onChange, registry } = this.#options;
    remember(false);
    this.#active = false;
    this.#cancelTimer();
    log.info({ count: registry.size }, "evacuation taken back");
    onChange(false);
  }

  progress(): EvacuateResponse {
    const { clock, blockers } = this.#options;
    return {
      evacuating: this.#active,
      timedOut: this.timedOut,
      elapsedMs: BigInt(this.#active ? Math.round(clock.elapsedMs() - this.#sinceMs) : 0),
      remaining: this.#active ? blockers() : [],
    };
  }

  /** Ends the timer with the rep; the evacuation itself goes on with the next. */
  detach(): void {
    this.#cancelTimer();
  }

  #announce(guid: InstanceGuid): void {
    const { executor, registry, cellId } = this.#options;
    if (registry.get(guid)?.task === undefined) executor.tell(guid, texts.requestingReplacement(cellId, guid));
  }

  #setTimer(): void {
    const { clock, timeoutMs } = this.#options;
    this.#cancelTimer();
    this.#cancelTimer = clock.after(timeoutMs, () => this.#giveUp());
  }

  /** The time is over: whatever is left is stopped, tasks too. */
  #giveUp(): void {
    const { registry, executor, log, cellId, countStranded, onStranded } = this.#options;
    this.#timedOut = true;
    const left = [...registry.all()].filter((record) => record.state !== "completed" && !record.stopped);
    const stranded = countStranded();
    onStranded(stranded);
    if (left.length > 0) log.warn({ count: left.length, stranded }, "evacuation took too long, the rest is stopped");
    for (const { instanceGuid } of left) {
      executor.tell(instanceGuid, texts.evacuationTimeout(cellId, instanceGuid));
      executor.stop(instanceGuid);
    }
  }
}
