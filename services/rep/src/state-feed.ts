// The state stream: the whole state first, then what changed, coalesced; a message at least every 400 ms, so that silence means trouble.
import type { StateResponse } from "@muster/proto/muster/v1/rep";
import type { Clock } from "@muster/shared/clock";
import type { InstanceGuid, TaskGuid } from "@muster/shared/model";
import { type CellCondition, type CellIdentity, cellState, type StateChange } from "./plan/index.js";
import type { Registry } from "./registry.js";

/** Below the 500 ms that readers are promised. */
const beatMs = 400;
/**
 * A change after a pause is told at once; those that follow within this time travel together. Containers that start in a row change many
 * times; the auctioneer reserves what it hands over and needs no word of each step.
 */
const coalesceMs = 100;

interface Subscriber {
  /** What each container is: of a task, or of an LRP (`undefined`). */
  readonly changed: Map<InstanceGuid, TaskGuid | undefined>;
  /** Something else than a container changed. */
  touched: boolean;
  wake: () => void;
}

export interface StateFeedOptions {
  readonly clock: Clock;
  readonly registry: Registry;
  readonly identity: CellIdentity;
  readonly condition: () => CellCondition;
}

export class StateFeed {
  readonly #subscribers = new Set<Subscriber>();
  readonly #options: StateFeedOptions;

  constructor(options: StateFeedOptions) {
    this.#options = options;
    options.registry.onChange((guid, record, before) => this.#note(guid, (record ?? before)?.task?.guid));
  }

  /** Something else than a container changed: health, evacuation. */
  touch(): void {
    for (const subscriber of this.#subscribers) {
      subscriber.touched = true;
      subscriber.wake();
    }
  }

  /** Streams until the signal aborts. */
  async *follow(signal: AbortSignal): AsyncGenerator<StateResponse, void, undefined> {
    const { clock, registry, identity, condition } = this.#options;
    const subscriber: Subscriber = { changed: new Map(), touched: false, wake: () => undefined };
    this.#subscribers.add(subscriber);
    try {
      yield cellState(identity, condition(), { full: true, containers: [...registry.all()], removedLRPs: [], removedTasks: [] });
      let pausedMs = 0;
      while (!signal.aborted) {
        const changed = await this.#changeOrBeat(subscriber, beatMs - pausedMs, signal);
        if (signal.aborted) return;
        subscriber.touched = false;
        yield cellState(identity, condition(), this.#changeOf(subscriber));
        pausedMs = changed ? coalesceMs : 0;
        if (changed) await clock.sleep(coalesceMs, signal).catch(() => undefined);
      }
    } finally {
      this.#subscribers.delete(subscriber);
    }
  }

  #changeOf({ changed }: Subscriber): StateChange {
    const { registry } = this.#options;
    const all = [...changed].map(([guid, taskGuid]) => ({ guid, taskGuid, record: registry.get(guid) }));
    changed.clear();
    const gone = all.filter(({ record }) => record === undefined);
    const removedTasks = gone
      .flatMap(({ taskGuid }) => (taskGuid === undefined ? [] : [taskGuid]))
      // Another attempt of the same task may be here already.
      .filter((taskGuid) => registry.ofTask(taskGuid).length === 0);
    return {
      full: false,
      containers: all.flatMap(({ record }) => (record === undefined ? [] : [record])),
      removedLRPs: gone.flatMap(({ guid, taskGuid }) => (taskGuid === undefined ? [guid] : [])),
      removedTasks,
    };
  }

  #note(guid: InstanceGuid, taskGuid: TaskGuid | undefined): void {
    for (const subscriber of this.#subscribers) {
      subscriber.changed.set(guid, taskGuid);
      subscriber.wake();
    }
  }

  /** Waits for a change, at most `ms`; says whether one came. */
  #changeOrBeat(subscriber: Subscriber, ms: number, signal: AbortSignal): Promise<boolean> {
    if (subscriber.changed.size > 0 || subscriber.touched) return Promise.resolve(true);
    return new Promise((resolve) => {
      const end = (changed: boolean): void => {
        cancel();
        signal.removeEventListener("abort", ended);
        subscriber.wake = () => undefined;
        resolve(changed);
      };
      const ended = (): void => end(false);
      const cancel = this.#options.clock.after(ms, ended);
      signal.addEventListener("abort", ended, { once: true });
      subscriber.wake = () => end(true);
    });
  }
}
