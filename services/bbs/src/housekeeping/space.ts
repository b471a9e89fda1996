// How full the store is, as one word, and what asks for more of it. Pure.
import type { Tables, Write } from "@muster/shared/model";
import type { StoreUsage } from "@muster/store";

/** `low`: a person should look. `scarce`: nothing new is desired. `closed`: the store takes no writes at all. */
export const spaceLevels = ["ample", "low", "scarce", "closed"] as const;
export type SpaceLevel = (typeof spaceLevels)[number];

/** Shares of what is allowed. Source: design section 3; the rest above `scarce` is for claims, removals and repairs to go on with. */
export const lowFrom = 0.7;
export const scarceFrom = 0.85;
/** A level is left this far below where it began, so that a size on the edge does not flap. */
const slack = 0.02;
/** Freed pages of a file are written again, but their fragments make it creep: its size alone counts a tenth later. */
const fileLag = 0.1;

/** The share of the bound that counts, 0 where there is none. May exceed 1. */
export function shareOf({
  usedBytes,
  fileBytes,
  allowedBytes,
}: Pick<StoreUsage, "usedBytes" | "fileBytes" | "allowedBytes">): number {
  if (allowedBytes === undefined || allowedBytes <= 0) return 0;
  return Math.max(usedBytes / allowedBytes, fileBytes / allowedBytes - fileLag);
}

/** The level now, given the one before. */
export function spaceLevel(usage: StoreUsage, before: SpaceLevel): SpaceLevel {
  if (usage.closed) return "closed";
  const share = shareOf(usage);
  const from = (level: SpaceLevel, begins: number): boolean =>
    share >= (spaceLevels.indexOf(before) >= spaceLevels.indexOf(level) ? begins - slack : begins);
  return from("scarce", scarceFrom) ? "scarce" : from("low", lowFrom) ? "low" : "ample";
}

/**
 * Whether a command's writes are a desire: a new DesiredLRP, one with more instances than before, a new task. Everything else keeps up
 * with what is desired already, or makes room. This is the one place that tells them apart, whichever call a command came by.
 */
export function asksForMore(tables: Pick<Tables, "get">, writes: readonly Write[]): boolean {
  return writes.some((write) => {
    if (write.record === undefined) return false;
    if (write.kind === "desiredLRP") return write.record.instances > (tables.get("desiredLRP", write.key)?.instances ?? -1);
    return write.kind === "task" && tables.get("task", write.key) === undefined;
  });
}
