// The state stream: the whole state first, then what changed, coalesced; a message at least every 400 ms, so that silence means trouble.
import type { StateResponse } from "@muster/proto/muster/v1/rep";
import type { Clock } from "@muster/shared/clock";
import type { InstanceGuid } from "@muster/shared/model";
import { type CellCondition, type CellIdentity, cellState } from "./plan/index.js";
import type { Registry } from "./registry.js";

/** Below the 500 ms that readers are promised. */
const beatMs = 400;
/** Changes within this time travel together. */
const coalesceMs = 5;

interface Subscriber {
  readonly changed: Set<InstanceGuid>;
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
    options.registry.onChange((guid) => this.#note(guid));
  }

  /** Something else than a container changed: health, evacuation. */
  touch(): void {
    for (const subscriber of this.#subscribers) subscriber.wake();
  }

  /** Streams until the signal aborts. */
  async *follow(signal: AbortSignal): AsyncGenerator<StateResponse, void, undefined> {
    const { clock, registry, identity, condition } = this.#options;
    const subscriber: Subscriber = { changed: new Set(), wake: () => undefined };
    this.#subscribers.add(subscriber);
    try {
      yield cellState(identity, condition(), { full: true, lrps: [...registry.all()], removedLRPs: [] });
      while (!signal.aborted) {
        await this.#changeOrBeat(subscriber, signal);
        if (signal.aborted) return;
        const guids = [...subscriber.changed];
        subscriber.changed.clear();
        const lrps = guids.map((guid) => registry.get(guid)).filter((record) => record !== undefined);
        const removedLRPs = guids.filter((guid) => registry.get(guid) === undefined);
        yield cellState(identity, condition(), { full: false, lrps, removedLRPs });
        await clock.sleep(coalesceMs, signal).catch(() => undefined);
      }
    } finally {
      this.#subscribers.delete(subscriber);
    }
  }

  #note(guid: InstanceGuid): void {
    for (const subscriber of this.#subscribers) {
      subscriber.changed.add(guid);
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
