// Which DesiredLRPs a read asks for. A request may name a hundred thousand guids, and all of it is one tick: what a read costs must not
// be their number times that of the records.
import type { DesiredLRPsRequest } from "@muster/proto/models/desired_lrp_requests";
import { asDomainName, asProcessGuid, type DesiredLRP, type Tables } from "@muster/shared/model";
import { maxNameCharacters } from "../core/validation/index.js";

type Filter = Pick<DesiredLRPsRequest, "domain" | "processGuids" | "appGuids">;

/** Filters are AND-ed; app guids are prefixes, OR-ed. Diego's quirk of ignoring some of them in some reads is not imitated. */
export function pickDesired(tables: Tables, filter: Filter): DesiredLRP[] {
  const ofApps = filter.appGuids.length === 0 ? () => true : beginsWithOneOf(filter.appGuids);
  return [...candidates(tables, filter)].filter(
    ({ domain, processGuid }) => (filter.domain === "" || domain === filter.domain) && ofApps(processGuid),
  );
}

/** Starts from the narrowest index that the filter allows. */
function* candidates(tables: Tables, { processGuids, domain }: Filter): Iterable<DesiredLRP> {
  if (processGuids.length === 0 && domain === "") {
    yield* tables.desiredLRPs.values();
    return;
  }
  const guids = processGuids.length > 0 ? new Set(processGuids) : tables.desiredInDomain(asDomainName(domain));
  for (const guid of guids) {
    const record = tables.desiredLRP(asProcessGuid(guid));
    if (record !== undefined) yield record;
  }
}

/** One look for each length that the prefixes have, however many they are. */
function beginsWithOneOf(prefixes: readonly string[]): (guid: string) => boolean {
  const byLength = new Map<number, Set<string>>();
  for (const prefix of prefixes) {
    if (prefix.length <= maxNameCharacters) byLength.set(prefix.length, (byLength.get(prefix.length) ?? new Set()).add(prefix));
  }
  return (guid) => {
    for (const [length, known] of byLength) if (known.has(guid.slice(0, length))) return true;
    return false;
  };
}
