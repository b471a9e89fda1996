// What a garden writes down of each container, so that the next rep can take it up.
import type { ContainerSpec, ImageMetadata, MappedPort } from "../garden.js";
import type { BindMount } from "./volumes.js";

/** A process that was started, or was about to be when the rep died. */
export interface ProcessRecord {
  readonly id: string;
  /** Its folder's number; 0 is the container's init. */
  readonly number: number;
  /** The init's is the container's: when it ends, all end. */
  readonly kind: "init" | "exec";
  readonly startedAtMs: number;
  /** How many processes of the container the kernel had killed for want of memory when it began. */
  readonly oomKillsBefore: number;
}

export interface ContainerRecord {
  readonly version: 1;
  /** The boot it was made in: another one has none of it. */
  readonly bootId: string;
  /** Without credentials and what bound files hold. */
  readonly spec: Omit<ContainerSpec, "credentials" | "files">;
  /** What is mounted into it besides its root. */
  readonly mounts?: readonly BindMount[];
  readonly image: ImageMetadata;
  /** Of the unpacked image; it counts as used by the container. */
  readonly imageBytes?: number;
  readonly containerIp: string;
  readonly ports: readonly MappedPort[];
  readonly createdAtMs: number;
  readonly processes: readonly ProcessRecord[];
}

/** The record in what a state file holds; `undefined` when it is of another version or torn. */
export function asContainerRecord(value: unknown, bootId: string): ContainerRecord | undefined {
  const record = value as Partial<ContainerRecord> | undefined;
  const whole =
    record?.version === 1 &&
    record.bootId === bootId &&
    typeof record.spec?.handle === "string" &&
    typeof record.containerIp === "string" &&
    Array.isArray(record.ports) &&
    Array.isArray(record.processes) &&
    record.image !== undefined;
  return whole ? (record as ContainerRecord) : undefined;
}
