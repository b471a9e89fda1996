// The placement errors, byte for byte as Diego writes them: the Cloud Controller maps their prefixes (auction.md section 9).

export const communicationError = "unable to communicate to compatible cells";
export const rootFSError = "found no compatible cell for required rootfs";
export const volumeDriverError = "found no compatible cell with required volume drivers";
export const inFlightError = "waiting to start instance: reached in-flight start limit";

/** Names the tags asked for: `"a"`, `"a" and "b"`, `"a", "b" and "c"`. */
export function placementTagError(tags: readonly string[]): string {
  const quoted = tags.map((tag) => `"${tag}"`);
  const last = quoted.pop();
  if (last === undefined) return "found no compatible cell with no placement tags";
  if (quoted.length === 0) return `found no compatible cell with placement tag ${last}`;
  return `found no compatible cell with placement tags ${quoted.join(", ")} and ${last}`;
}

/** `causes` are those that hold on every cell that was scored: of "containers", "disk", "memory". */
export function resourceError(causes: readonly string[]): string {
  return causes.length === 0 ? "insufficient resources" : `insufficient resources: ${causes.toSorted().join(", ")}`;
}

/** What a placement error comes to, as a closed set: for counting. */
export const failureReasons = [
  "no-cells",
  "rootfs",
  "volume-drivers",
  "placement-tags",
  "memory",
  "disk",
  "containers",
  "several-resources",
  "in-flight-limit",
] as const;
export type FailureReason = (typeof failureReasons)[number];

/** `error` is one of the texts above. Several resources: each is short on every cell, or one here and another there. */
export function failureReasonOf(error: string): FailureReason {
  if (error === communicationError) return "no-cells";
  if (error === rootFSError) return "rootfs";
  if (error === volumeDriverError) return "volume-drivers";
  if (error === inFlightError) return "in-flight-limit";
  const resource = /^insufficient resources(?:: (.*))?$/.exec(error);
  if (resource === null) return "placement-tags";
  const cause = resource[1];
  return cause === "memory" || cause === "disk" || cause === "containers" ? cause : "several-resources";
}
