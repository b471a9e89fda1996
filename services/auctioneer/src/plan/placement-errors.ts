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
