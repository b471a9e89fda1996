// How long things may be (bbs-semantics.md 1.2 and 2.2), and how a reason that is too long is cut.
import type { Faults } from "./faults.js";

/** Names, guids, zones: Diego's columns hold this many characters (not bytes). */
export const maxNameCharacters = 255;
export const maxRootFsCharacters = 1024;
export const maxAnnotationBytes = 10_240;
/** Over all values of the map; keys are not counted. */
export const maxRoutesBytes = 131_072;
export const maxVolumeMountedFilesBytes = 1_048_576;
/**
 * Muster's own bound: the whole cluster is built for this many (design.md 8). Without it one request could keep the core
 * making rows for weeks.
 */
export const maxInstances = 250_000;

const maxReasonBytes = 1024;
const truncationMark = "(truncated)";

/** Characters as the database counts them: a code point is one, whatever its bytes. */
function characters(text: string): number {
  let count = 0;
  for (const _ of text) count += 1;
  return count;
}

export function checkLength(faults: Faults, field: string, value: string, maxCharacters = maxNameCharacters): void {
  if (value.length > maxCharacters && characters(value) > maxCharacters) {
    faults.field(`${field}: longer than ${maxCharacters} characters`);
  }
}

/**
 * Cuts a crash, failure, rejection or placement reason as Diego does: from 1,024 bytes of UTF-8 on, the first 1,013 bytes stay,
 * followed by `(truncated)`. Unlike Diego it never cuts through a character: one that would be split is left out whole, so up to
 * three bytes fewer may stay.
 */
export function truncateReason(reason: string): string {
  // No UTF-16 unit takes more than three bytes of UTF-8.
  if (reason.length * 3 < maxReasonBytes) return reason;
  const bytes = Buffer.from(reason, "utf8");
  if (bytes.length < maxReasonBytes) return reason;
  let end = maxReasonBytes - truncationMark.length;
  while (end > 0 && isContinuation(bytes[end])) end -= 1;
  return bytes.toString("utf8", 0, end) + truncationMark;
}

const isContinuation = (byte: number | undefined): boolean => byte !== undefined && (byte & 0xc0) === 0x80;
