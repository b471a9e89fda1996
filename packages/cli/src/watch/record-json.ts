// Records as JSON for `watch`: snake case, maps as objects, 64-bit numbers as text. Secrets are never on the watch; what a URL may carry
// of them is taken out here. Pure.
import type { RecordKind } from "@muster/shared/model";

export type Json = string | number | boolean | null | readonly Json[] | { readonly [key: string]: Json };
export type JsonObject = { readonly [key: string]: Json };

const snake = (name: string): string => name.replace(/[A-Z]+/g, (letters) => `_${letters.toLowerCase()}`);

/** How the watch names each kind, on the command line and in what it prints. Kinds with secrets have none. */
export const kindNames = {
  desiredLRP: "desired-lrp",
  actualLRP: "actual-lrp",
  task: "task",
  domain: "domain",
  cell: "cell",
  featureFlag: "feature-flag",
  lock: "lock",
} as const satisfies Partial<Record<RecordKind, string>>;
export type WatchedKind = keyof typeof kindNames;

/** `tasks` is as good as `task`. `undefined` for what is no kind. */
export function kindNamed(text: string): WatchedKind | undefined {
  const wanted = text.toLowerCase().replace(/_/g, "-").replace(/s$/, "");
  return (Object.keys(kindNames) as WatchedKind[]).find((kind) => kindNames[kind] === wanted);
}

/** User names and passwords in a URL are not for everybody who may watch. */
const withoutUserInfo = (text: string): string => text.replace(/^([a-z][a-z0-9+.-]*:\/\/)[^/@\s]*@/i, "$1");

function textOf(bytes: Uint8Array): Json {
  const text = Buffer.from(bytes).toString("utf8");
  try {
    return JSON.parse(text) as Json;
  } catch {
    return text;
  }
}

function jsonOf(value: unknown): Json {
  switch (typeof value) {
    case "string":
      return withoutUserInfo(value);
    case "bigint":
      return value.toString();
    case "number":
    case "boolean":
      return value;
    default:
  }
  if (value instanceof Uint8Array) return textOf(value);
  if (value instanceof Map) return Object.fromEntries([...value].map(([key, each]) => [String(key), jsonOf(each)]));
  if (Array.isArray(value)) return value.map(jsonOf);
  return value === null || value === undefined ? null : recordJson(value);
}

export const recordJson = (record: object): JsonObject =>
  Object.fromEntries(
    Object.entries(record).flatMap(([key, value]) => (value === undefined ? [] : [[snake(key), jsonOf(value)]])),
  );

/** So many characters of one value are worth a line. */
const mostOfValue = 120;

function brief(value: Json | undefined): string {
  const text = value === undefined || value === "" ? "-" : typeof value === "string" ? value : JSON.stringify(value);
  return text.length > mostOfValue ? `${text.slice(0, mostOfValue)}…` : text;
}

/** Changed with every change: no news. */
const noNews: ReadonlySet<string> = new Set(["modification_tag", "since_ns", "updated_at_ns", "changed_at"]);

/** What says most of a record of each kind. */
const tellingFields: Readonly<Record<WatchedKind, readonly string[]>> = {
  desiredLRP: ["domain", "instances", "root_fs"],
  actualLRP: ["state", "instance_key", "crash_count", "crash_reason", "placement_error", "stop_marked"],
  task: ["state", "cell_id", "failed", "failure_reason"],
  domain: ["expires_at_ms"],
  cell: ["zone", "evacuating", "lost_at_ms"],
  featureFlag: ["enabled"],
  lock: ["owner", "value"],
};

/** Not worth a word, where a whole record is told; that a flag is off is. */
const isEmpty = (field: string, value: Json | undefined): boolean =>
  value === undefined || value === null || value === "" || value === 0 || (value === false && field !== "enabled");

/** One change in a line: what differs, or what the record says when nothing is known from before. */
export function changeText(kind: WatchedKind, before: JsonObject | undefined, after: JsonObject | undefined): string {
  if (after === undefined) return "removed";
  const told = (field: string): string[] => (isEmpty(field, after[field]) ? [] : [`${field}: ${brief(after[field])}`]);
  if (before === undefined) return tellingFields[kind].flatMap(told).join("  ");
  const fields = [...new Set([...Object.keys(before), ...Object.keys(after)])].filter((field) => !noNews.has(field));
  const changed = fields.filter((field) => JSON.stringify(before[field]) !== JSON.stringify(after[field]));
  return changed.map((field) => `${field}: ${brief(before[field])} → ${brief(after[field])}`).join("  ") || "written";
}
