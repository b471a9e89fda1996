// What etcd's answers mean for a commit and for a campaign. Only what is known to be final is called so.
import {
  EtcdAuthenticationFailedError,
  EtcdPermissionDeniedError,
  GRPCDataLossError,
  GRPCFailedPreconditionError,
  GRPCInvalidArgumentError,
  GRPCNotImplementedError,
  GRPCOutOfRangeError,
  GRPCUnauthenticatedError,
} from "etcd3";
import type { CommitResult } from "../driver.js";

type RefusalReason = Extract<CommitResult, { why: "refused" }>["reason"];

/** Parts of etcd's messages, which are the only thing that tells its refusals apart (server/etcdserver/errors.go and etcdserver/api/v3rpc). */
const phrases: readonly (readonly [part: string, reason: RefusalReason])[] = [
  ["database space exceeded", "no-space"],
  ["request is too large", "too-large"],
  ["too many operations in txn", "too-large"],
  ["message larger than max", "too-large"],
];

const finalErrors = [
  EtcdAuthenticationFailedError,
  EtcdPermissionDeniedError,
  GRPCDataLossError,
  GRPCFailedPreconditionError,
  GRPCInvalidArgumentError,
  GRPCNotImplementedError,
  GRPCOutOfRangeError,
  GRPCUnauthenticatedError,
] as const;

const isFinal = (error: unknown): boolean => finalErrors.some((kind) => error instanceof kind);

/** Why etcd refused for good; `undefined` when the outcome is unknown (deadline, connection, change of etcd's leader, …). */
export function refusalOf(error: unknown): RefusalReason | undefined {
  const message = error instanceof Error ? error.message : "";
  return phrases.find(([part]) => message.includes(part))?.[1] ?? (isFinal(error) ? "other" : undefined);
}

/** Whether trying again cannot help until a person has mended the settings: who we are, or what we may do. */
export const needsOperator = (error: unknown): boolean => refusalOf(error) === "other" && !(error instanceof GRPCDataLossError);

/** OpenSSL's and Node's words for a certificate that one side does not take, as grpc-js passes them on. The server's side comes as an alert. */
const certificateFaults = {
  ours: /alert (?:bad certificate|certificate \w+|unknown ca|access denied|handshake failure)/,
  theirs:
    /certificate has expired|certificate is not yet valid|self-signed certificate|self signed certificate|unable to verify|unable to get (?:local )?issuer|altnames|wrong version number/,
} as const;

/** Whose certificate stands in the way of a connection, with the library's words; `undefined` when it is something else. */
export function certificateFault(error: unknown): { readonly whose: "ours" | "theirs"; readonly words: string } | undefined {
  const message = error instanceof Error ? error.message : "";
  for (const whose of ["ours", "theirs"] as const) {
    const [words] = certificateFaults[whose].exec(message) ?? [];
    if (words !== undefined) return { whose, words };
  }
  return undefined;
}

export const isTooLarge = (error: unknown): boolean => refusalOf(error) === "too-large";

/** Somebody compacted the revision already. */
export const isCompacted = (error: unknown): boolean => error instanceof GRPCOutOfRangeError;
