// What users type after a flag, read strictly: sizes, durations, counts, names, K=V. Pure.
import { UsageError } from "./exit.js";

const sizeUnits: Readonly<Record<string, number>> = { M: 1, MB: 1, G: 1_024, GB: 1_024, T: 1_048_576, TB: 1_048_576 };

/** `256M`, `1G`: mebibytes. @throws UsageError */
export function parseSizeMb(text: string, flag: string): number {
  const match = /^([0-9]{1,9})([MGT]B?)$/i.exec(text);
  const mb = Number(match?.[1]) * (sizeUnits[match?.[2]?.toUpperCase() ?? ""] ?? Number.NaN);
  if (match === null || !Number.isSafeInteger(mb) || mb < 1 || mb > 2_147_483_647) {
    throw new UsageError(`${flag}: "${text}" is no size`, "write a number with M or G, as in 256M or 1G");
  }
  return mb;
}

const durationUnits: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };

/** `500ms`, `5s`, `2m`: milliseconds. @throws UsageError */
export function parseDurationMs(text: string, flag: string, bounds: { readonly minMs: number; readonly maxMs: number }): number {
  const match = /^([0-9]{1,9})(ms|s|m|h)$/.exec(text);
  const ms = Number(match?.[1]) * (durationUnits[match?.[2] ?? ""] ?? Number.NaN);
  if (match === null) throw new UsageError(`${flag}: "${text}" is no duration`, "write a number with ms, s or m, as in 5s");
  if (ms < bounds.minMs || ms > bounds.maxMs) {
    throw new UsageError(`${flag}: ${text} is out of bounds`, `between ${bounds.minMs} ms and ${bounds.maxMs} ms`);
  }
  return ms;
}

/** A whole number within bounds. @throws UsageError */
export function parseCount(text: string, flag: string, bounds: { readonly min: number; readonly max: number }): number {
  const count = /^[0-9]{1,9}$/.test(text) ? Number(text) : Number.NaN;
  if (!(count >= bounds.min && count <= bounds.max)) {
    throw new UsageError(`${flag}: "${text}" is not a whole number from ${bounds.min} to ${bounds.max}`);
  }
  return count;
}

/** App names: what fits into a host name label, with dots and underscores allowed inside. @throws UsageError */
export function parseAppName(text: string): string {
  if (!/^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/.test(text)) {
    throw new UsageError(
      `"${text}" is no name for an app`,
      "use 1 to 63 letters, digits, dots, dashes and underscores, beginning and ending with a letter or digit",
    );
  }
  return text;
}

/** `K=V`; the value may be empty and may hold `=`. @throws UsageError */
export function parseAssignment(text: string, flag: string): readonly [string, string] {
  const equals = text.indexOf("=");
  if (equals < 1) throw new UsageError(`${flag}: "${text}" is not of the form NAME=VALUE`);
  return [text.slice(0, equals), text.slice(equals + 1)];
}

/** `HOST:PORT`, without a scheme. @throws UsageError in the words of Diego's builder. */
export function parseRegistry(text: string, flag: string): string {
  if (text.includes("://")) throw new UsageError(`${flag}: no scheme allowed for Docker Registry [${text}]`);
  if (!/^[A-Za-z0-9.-]+:[0-9]{1,5}$/.test(text)) throw new UsageError(`${flag}: ip:port expected for Docker Registry [${text}]`);
  return text;
}

/** Gathers the values of a flag that may be given more than once. */
export const gather = (value: string, before: readonly string[] | undefined): string[] => [...(before ?? []), value];
