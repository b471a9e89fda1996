// The state stream: the whole state first, then what changed, coalesced; a message at least every 400 ms, so that silence means trouble.
import type { StateResponse } from "@muster/proto/muster/v1/rep";
import type { Clock } from "@muster/shared/clock";
import type { InstanceGuid, TaskGuid } from "@muster/shared/model";
import { type CellCondition, type CellIdentity, cellState, type StateChange } from "./plan/index.js";
import type { Registry } from "./registry.js";

/** Below the 500 ms that readers are promised. */
const beatMs = 400;
/** Changes within this time travel together. */
const coalesceMs = 5;

interface Subscriber {
  /** What each container is: of a task, or of an LRP (`undefined`). */
  readonly changed: Map<InstanceGuid, TaskGuid | undefined>;
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
    for (const subscriber of this.#subscribers) subscriber.wake();
  }

  /** Streams until the signal aborts. */
  async *follow(signal: AbortSignal): AsyncGenerator<StateResponse, void, undefined> {
    const { clock, registry, identity, condition } = this.#options;
    const subscriber: Subscriber = { changed: new Map(), wake: () => undefined };
    this.#subscribers.add(subscriber);
    try {
      yield cellState(identity, condition(), { full: true, containers: [...registry.all()], removedLRPs: [], removedTasks: [] });
      while (!signal.aborted) {
        await this.#changeOrBeat(subscriber, signal);
        if (signal.aborted) return;
        yield cellState(identity, condition(), this.#changeOf(subscriber));
        await clock.sleep(coalesceMs, signal).catch(() => undefined);
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

  #changeOrBeat(subscriber: Subscriber, signal: AbortSignal): Promise<void> {
    if (subscriber.changed.size > 0) return Promise.resolve();
    return new Promise((resolve) => {
      const done = (): void => {
        cancel();
        signal.removeEventListener("abort", done);
        subscriber.wake = () => undefined;
        resolve();
      };
      const cancel = this.#options.clock.after(beatMs, done);
      signal.addEventListener("abort", done, { once: true });
      subscriber.wake = done;
    });
  }
}
