// The token of a watch as people pass it on: `<store incarnation>/<commit>`. Pure.
import type { ResumeToken } from "@muster/proto/muster/v1/watch";
import { UsageError } from "../exit.js";

export const formatToken = ({ incarnation, sequence }: ResumeToken): string => `${incarnation}/${sequence}`;

/** @throws UsageError */
export function parseToken(text: string): ResumeToken {
  const match = /^([^/\s]+)\/([0-9]{1,19})$/.exec(text);
  if (match === null)
    throw new UsageError(`--after: "${text}" is no token`, "take the token that `muster watch` printed last, as it is");
  return { incarnation: match[1] ?? "", sequence: BigInt(match[2] ?? "0") };
}
