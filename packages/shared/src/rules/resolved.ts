// What a DesiredLRP's internal routes and metric tags come to for one instance: the BBS, the converger and the reps ask these.
import type { ActualLRP, DesiredLRP, MetricTagValue } from "../model/index.js";

/** Where Diego's clients keep internal routes: a JSON array of `{"hostname": …}`. */
const internalRouterKey = "internal-router";

/** A routes map is never changed, and asked about once for each instance and cycle: what was read out of one is kept with it. */
const knownRoutes = new WeakMap<DesiredLRP["routes"], readonly string[]>();
const noRoutes: readonly string[] = [];

/** Hostnames of the LRP's internal routes, in their order; a value that is not the known JSON means none. */
export function resolvedInternalRoutes({ routes }: Pick<DesiredLRP, "routes">): readonly string[] {
  const bytes = routes.get(internalRouterKey);
  if (bytes === undefined) return noRoutes;
  const known = knownRoutes.get(routes);
  if (known !== undefined) return known;
  const hostnames = hostnamesOf(bytes);
  knownRoutes.set(routes, hostnames);
  return hostnames;
}

function hostnamesOf(bytes: Uint8Array): readonly string[] {
  try {
    const parsed: unknown = JSON.parse(new TextDecoder().decode(bytes));
    if (!Array.isArray(parsed)) return noRoutes;
    return parsed.flatMap((route: unknown) =>
      typeof route === "object" && route !== null && "hostname" in route && typeof route.hostname === "string"
        ? [route.hostname]
        : [],
    );
  } catch {
    return noRoutes;
  }
}

const resolvedTag = (tag: MetricTagValue, index: number, instanceGuid: string): string =>
  "static" in tag ? tag.static : tag.dynamic === "INDEX" ? String(index) : instanceGuid;

/** The metric tags of one instance: static ones as they are, INDEX in decimal, INSTANCE_GUID as the instance's guid. */
export const resolvedMetricTags = (
  { metricTags }: Pick<DesiredLRP, "metricTags">,
  index: number,
  instanceGuid: string,
): ReadonlyMap<string, string> => new Map([...metricTags].map(([name, tag]) => [name, resolvedTag(tag, index, instanceGuid)]));

/** Whether the instance's internal routes or metric tags are others than the DesiredLRP now resolves to. */
export const isOutdated = (desired: DesiredLRP, row: ActualLRP): boolean =>
  differentRoutes(resolvedInternalRoutes(desired), row.internalRoutes) || differentTags(desired, row);

const differentRoutes = (a: readonly string[], b: readonly string[]): boolean =>
  a.length !== b.length || a.some((route, at) => route !== b[at]);

/** As in Diego, an instance that has reported no tags at all is not compared: its cell carries none. */
function differentTags({ metricTags }: DesiredLRP, row: ActualLRP): boolean {
  if (row.metricTags.size === 0) return false;
  if (row.metricTags.size !== metricTags.size) return true;
  for (const [name, tag] of metricTags) {
    if (row.metricTags.get(name) !== resolvedTag(tag, row.index, row.instanceKey?.instanceGuid ?? "")) return true;
  }
  return false;
}
