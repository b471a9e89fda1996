// The containers of this cell and what they hold of it: the one place where a container's state changes.
import { invariant } from "@muster/shared/errors";
import type { InstanceGuid, TaskGuid } from "@muster/shared/model";
import { type ContainerRecord, type ContainerState, isStarting, mayBecome, type Resources, resourcesOf } from "./plan/index.js";

/** Called after the change; `undefined` means the container is gone. */
export type RegistryListener = (
  guid: InstanceGuid,
  record: ContainerRecord | undefined,
  before: ContainerRecord | undefined,
) => void;

export class Registry {
  readonly total: Resources;
  readonly #records = new Map<InstanceGuid, ContainerRecord>();
  readonly #listeners = new Set<RegistryListener>();
  readonly #byTask = new Map<TaskGuid, Set<InstanceGuid>>();
  #used: Resources = { memoryMb: 0, diskMb: 0, containers: 0 };
  #starting = 0;

  constructor(total: Resources) {
    this.total = total;
  }

  get size(): number {
    return this.#records.size;
  }

  get startingCount(): number {
    return this.#starting;
  }

  get(guid: InstanceGuid): ContainerRecord | undefined {
    return this.#records.get(guid);
  }

  all(): IterableIterator<ContainerRecord> {
    return this.#records.values();
  }

  remaining(): Resources {
    return {
      memoryMb: this.total.memoryMb - this.#used.memoryMb,
      diskMb: this.total.diskMb - this.#used.diskMb,
      containers: this.total.containers - this.#used.containers,
    };
  }

  /** Whether a container that is not completed holds this index (rule P2). */
  holds(processGuid: string, index: number): boolean {
    for (const { key, task, state } of this.#records.values()) {
      if (task === undefined && key.processGuid === processGuid && key.index === index && state !== "completed") return true;
    }
    return false;
  }

  /** The containers of a task: one at most that is not completed, beside those of earlier attempts that are not gone yet. */
  ofTask(taskGuid: TaskGuid): readonly ContainerRecord[] {
    return [...(this.#byTask.get(taskGuid) ?? [])]
      .map((guid) => this.#records.get(guid))
      .filter((record) => record !== undefined);
  }

  onChange(listener: RegistryListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  add(record: ContainerRecord): void {
    invariant(!this.#records.has(record.instanceGuid), "an instance guid is used once");
    this.#put(record.instanceGuid, record);
  }

  /** Replaces a container's record. @throws InvariantError on a move the table does not know. */
  update(next: ContainerRecord): void {
    const before = this.#records.get(next.instanceGuid);
    invariant(before !== undefined, "only a container that is here can change");
    if (before === next) return;
    invariant(
      before.state === next.state || mayBecome(before.state, next.state),
      `container cannot transition from ${before.state} to ${next.state}`,
    );
    this.#put(next.instanceGuid, next);
  }

  /** Changes the container if it is still in one of `states`; says whether it was. */
  updateIf(guid: InstanceGuid, states: readonly ContainerState[], change: (record: ContainerRecord) => ContainerRecord): boolean {
    const record = this.#records.get(guid);
    if (record === undefined || !states.includes(record.state)) return false;
    this.update(change(record));
    return true;
  }

  /** Forgets a container that is proven gone; what it held is free from here on. */
  remove(guid: InstanceGuid): void {
    this.#put(guid, undefined);
  }

  #put(guid: InstanceGuid, record: ContainerRecord | undefined): void {
    const before = this.#records.get(guid);
    if (before !== undefined) this.#account(before, -1);
    this.#indexTask(guid, (record ?? before)?.task?.guid, record !== undefined);
    if (record === undefined) this.#records.delete(guid);
    else {
      this.#records.set(guid, record);
      this.#account(record, 1);
    }
    for (const listener of this.#listeners) listener(guid, record, before);
  }

  #indexTask(guid: InstanceGuid, taskGuid: TaskGuid | undefined, held: boolean): void {
    if (taskGuid === undefined) return;
    const guids = this.#byTask.get(taskGuid) ?? new Set();
    if (held) guids.add(guid);
    else guids.delete(guid);
    if (guids.size === 0) this.#byTask.delete(taskGuid);
    else this.#byTask.set(taskGuid, guids);
  }

  #account(record: ContainerRecord, sign: 1 | -1): void {
    const held = resourcesOf(record);
    this.#used = {
      memoryMb: this.#used.memoryMb + sign * held.memoryMb,
      diskMb: this.#used.diskMb + sign * held.diskMb,
      containers: this.#used.containers + sign * held.containers,
    };
    if (isStarting(record)) this.#starting += sign;
  }
}
