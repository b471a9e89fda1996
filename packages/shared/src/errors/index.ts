// The BBS's typed errors: Diego's names, what each means on gRPC, and whether a caller may try again.

import type { status } from "@grpc/grpc-js";
import { Error_Type } from "@muster/proto/models/error";

type Retry = "never" | "after-reread" | "with-backoff";
interface ErrorMeaning {
  readonly grpc: keyof typeof status;
  readonly retry: Retry;
  /** The message Diego's clients know; our facts follow it. */
  readonly message: string;
}

/** Source: bbs-semantics.md 1.1; the last group is Muster's own and travels over HTTP as the Diego type named in `diegoTypeOf`. */
export const errorCodes = {
  UnknownError: { grpc: "UNKNOWN", retry: "never", message: "the request failed for an unknown reason" },
  InvalidRecord: { grpc: "INTERNAL", retry: "never", message: "a record could not be serialized" },
  InvalidRequest: { grpc: "INVALID_ARGUMENT", retry: "never", message: "the request received is invalid" },
  InvalidStateTransition: { grpc: "FAILED_PRECONDITION", retry: "after-reread", message: "invalid state transition" },
  ResourceConflict: { grpc: "ABORTED", retry: "after-reread", message: "the requested resource is in a conflicting state" },
  ResourceExists: { grpc: "ALREADY_EXISTS", retry: "never", message: "the requested resource already exists" },
  ResourceNotFound: { grpc: "NOT_FOUND", retry: "never", message: "the requested resource could not be found" },
  ActualLRPCannotBeClaimed: { grpc: "FAILED_PRECONDITION", retry: "after-reread", message: "cannot claim actual LRP" },
  ActualLRPCannotBeStarted: { grpc: "FAILED_PRECONDITION", retry: "after-reread", message: "cannot start actual LRP" },
  ActualLRPCannotBeCrashed: { grpc: "FAILED_PRECONDITION", retry: "after-reread", message: "cannot crash actual LRP" },
  ActualLRPCannotBeFailed: { grpc: "FAILED_PRECONDITION", retry: "after-reread", message: "cannot fail actual LRP" },
  ActualLRPCannotBeRemoved: { grpc: "FAILED_PRECONDITION", retry: "after-reread", message: "cannot remove actual LRP" },
  ActualLRPCannotBeUnclaimed: { grpc: "FAILED_PRECONDITION", retry: "after-reread", message: "cannot unclaim actual LRP" },
  RunningOnDifferentCell: { grpc: "FAILED_PRECONDITION", retry: "never", message: "running on a different cell" },
  GUIDGeneration: { grpc: "INTERNAL", retry: "with-backoff", message: "cannot generate random guid" },
  Deserialize: { grpc: "DATA_LOSS", retry: "never", message: "could not deserialize record" },
  LockCollision: { grpc: "ALREADY_EXISTS", retry: "with-backoff", message: "the lock is held by another owner" },
  Timeout: { grpc: "DEADLINE_EXCEEDED", retry: "with-backoff", message: "the request timed out" },
  /** A feature flag is off. Names the flag. */
  FeatureDisabled: { grpc: "FAILED_PRECONDITION", retry: "never", message: "feature disabled" },
  /** The caller's certificate does not allow this call. */
  PermissionDenied: { grpc: "PERMISSION_DENIED", retry: "never", message: "this certificate's role may not make this call" },
  /** No call was admitted: not the leader, or the store cannot be written. */
  Unavailable: { grpc: "UNAVAILABLE", retry: "with-backoff", message: "the BBS cannot serve this now" },
  /** The call was admitted and may or may not have taken effect. */
  OutcomeUnknown: { grpc: "UNAVAILABLE", retry: "after-reread", message: "outcome unknown" },
  /** A bound was reached: a queue, a quota, a number of streams. */
  ResourceExhausted: { grpc: "RESOURCE_EXHAUSTED", retry: "with-backoff", message: "a limit was reached" },
  /** A call this build does not carry out yet. */
  Unimplemented: { grpc: "UNIMPLEMENTED", retry: "never", message: "this call is not served yet" },
} as const satisfies Record<string, ErrorMeaning>;

export type ErrorCode = keyof typeof errorCodes;

/** Diego's Error.Type for a code: our own codes travel as the nearest of Diego's. */
export function diegoTypeOf(code: ErrorCode): Error_Type {
  switch (code) {
    case "FeatureDisabled":
    case "PermissionDenied":
    case "Unimplemented":
      return Error_Type.InvalidRequest;
    case "Unavailable":
    case "OutcomeUnknown":
    case "ResourceExhausted":
      return Error_Type.UnknownError;
    default:
      return Error_Type[code];
  }
}

export type Facts = Readonly<Record<string, string | number | boolean | undefined>>;

/**
 * A refusal or failure of a BBS call. `message` is the constant phrase (Diego's where Diego has one), followed by `detail`
 * where the text is part of the contract; `facts` hold what varies, for logs; `cause` is the inner error.
 */
export class BbsError extends Error {
  override readonly name = "BbsError";
  readonly code: ErrorCode;
  readonly facts: Facts;

  constructor(code: ErrorCode, message: string = errorCodes[code].message, facts: Facts = {}, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.facts = facts;
  }
}

export const isBbsError = (error: unknown, code?: ErrorCode): error is BbsError =>
  error instanceof BbsError && (code === undefined || error.code === code);

/** Ends the process's present work when the house itself is wrong; never for bad input. */
export class InvariantError extends Error {
  override readonly name = "InvariantError";
}

export function invariant(holds: boolean, what: string): asserts holds {
  if (!holds) throw new InvariantError(what);
}

/** Settings or surroundings that a person must mend (a missing tool, a bad flag, a folder in use). `hint` says how. */
export class OperatorError extends Error {
  override readonly name = "OperatorError";
  readonly hint: string;

  constructor(message: string, hint: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.hint = hint;
  }
}
