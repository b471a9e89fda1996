// Keeps the stored record of each container up with the registry: writes of one container follow each other.
import type { Log } from "@muster/shared/log";
import type { InstanceGuid } from "@muster/shared/model";
import type { Registry } from "../registry.js";
import type { ContainerStore } from "./store.js";

export class RecordWriter {
  readonly #store: ContainerStore;
  readonly #registry: Registry;
  readonly #log: Log;
  readonly #writes = new Map<InstanceGuid, Promise<void>>();

  constructor(store: ContainerStore, registry: Registry, log: Log) {
    this.#store = store;
    this.#registry = registry;
    this.#log = log;
  }

  /** Writes the container's record as it stands when its turn comes. A write that fails is logged: the container lives on without it. */
  save(guid: InstanceGuid): Promise<void> {
    return this.#enqueue(guid, async () => {
      const record = this.#registry.get(guid);
      if (record !== undefined) await this.#store.put(record);
    });
  }

  drop(guid: InstanceGuid): Promise<void> {
    return this.#enqueue(guid, () => this.#store.delete(guid));
  }

  /** Resolves when everything asked for so far is written. */
  async settled(): Promise<void> {
    await Promise.all(this.#writes.values());
  }

  #enqueue(guid: InstanceGuid, write: () => Promise<void>): Promise<void> {
    const next = (this.#writes.get(guid) ?? Promise.resolve()).then(write).catch((err: unknown) => {
      this.#log.error({ err, instance_guid: guid }, "a container's record could not be written");
    });
    this.#writes.set(guid, next);
    void next.then(() => {
      if (this.#writes.get(guid) === next) this.#writes.delete(guid);
    });
    return next;
  }
}
