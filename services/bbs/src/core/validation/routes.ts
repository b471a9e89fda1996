// Routes are JSON documents that only routers read: checked for being JSON, kept in Go's compact form (bbs-wire.md B.1).
import type { ProtoRoutes } from "@muster/proto/models/desired_lrp";
import { BbsError } from "@muster/shared/errors";

/** A whole string with its quotes, or a run of whitespace between tokens; over one character for each byte. */
const stringOrSpace = /"[^"\\]*(?:\\.[^"\\]*)*"|[ \t\r\n]+/gs;
/** What Go escapes inside strings: `<`, `>`, `&` and the UTF-8 bytes of U+2028 and U+2029. */
const escapedByGo = /[<>&]|\xe2\x80[\xa8\xa9]/g;

const goEscape = (text: string): string =>
  text.length === 1 ? `\\u00${text.charCodeAt(0).toString(16)}` : `\\u202${text.endsWith("\xa8") ? "8" : "9"}`;

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/**
 * One JSON document in Go's compact form: no whitespace between tokens, `<`, `>`, `&`, U+2028 and U+2029 inside strings escaped,
 * all else (key order, number text, other escapes) as it came. `undefined` when it is not JSON, or empty.
 */
export function compactJson(value: Uint8Array): Buffer | undefined {
  const bytes = Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  if (!isJson(bytes.toString("utf8"))) return undefined;
  const compact = bytes
    .toString("latin1")
    .replace(stringOrSpace, (token) => (token.startsWith('"') ? token.replace(escapedByGo, goEscape) : ""));
  return Buffer.from(compact, "latin1");
}

/** Every route compacted; `undefined` stays `undefined`. @throws BbsError InvalidRequest with Diego's plain text; `facts` name the route. */
export function compactRoutes(routes: ProtoRoutes): ProtoRoutes;
export function compactRoutes(routes: ProtoRoutes | undefined): ProtoRoutes | undefined;
export function compactRoutes(routes: ProtoRoutes | undefined): ProtoRoutes | undefined {
  if (routes === undefined) return undefined;
  const compacted = Object.entries(routes.routes).map(([name, value]): [string, Buffer] => {
    const compact = compactJson(value);
    if (compact === undefined) throw new BbsError("InvalidRequest", undefined, { route: name, why: "the value is not JSON" });
    return [name, compact];
  });
  return { routes: Object.fromEntries(compacted) };
}
