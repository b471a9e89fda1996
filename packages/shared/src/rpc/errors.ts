// BbsError <-> gRPC status. The trailer `muster-error-type` carries the code's name, so that nothing is guessed from a status.
import { Metadata, type ServiceError, status } from "@grpc/grpc-js";
import { BbsError, type ErrorCode, errorCodes } from "../errors/index.js";

const errorTypeKey = "muster-error-type";

/** What a handler's failure becomes on the wire. Unknown errors are wrapped once, here; their text stays in the log. */
export function toServiceError(error: unknown): Partial<ServiceError> & { readonly code: status } {
  const known = error instanceof BbsError ? error : new BbsError("UnknownError", undefined, {}, error);
  const metadata = new Metadata();
  metadata.set(errorTypeKey, known.code);
  return { code: status[errorCodes[known.code].grpc], details: known.message, message: known.message, metadata };
}

const codeOfStatus: Readonly<Partial<Record<status, ErrorCode>>> = {
  [status.UNAVAILABLE]: "Unavailable",
  [status.DEADLINE_EXCEEDED]: "Timeout",
  [status.PERMISSION_DENIED]: "PermissionDenied",
  [status.UNAUTHENTICATED]: "PermissionDenied",
  [status.RESOURCE_EXHAUSTED]: "ResourceExhausted",
  [status.UNIMPLEMENTED]: "Unimplemented",
  [status.INVALID_ARGUMENT]: "InvalidRequest",
};

const isServiceError = (error: unknown): error is ServiceError =>
  error instanceof Error && "code" in error && "metadata" in error;

/** The typed error of a failed call, as the server meant it. */
export function fromServiceError(error: unknown): BbsError {
  if (error instanceof BbsError) return error;
  if (!isServiceError(error)) return new BbsError("UnknownError", error instanceof Error ? error.message : undefined, {}, error);
  const named = error.metadata?.get(errorTypeKey)[0];
  const code =
    typeof named === "string" && Object.hasOwn(errorCodes, named)
      ? (named as ErrorCode)
      : (codeOfStatus[error.code] ?? "UnknownError");
  return new BbsError(code, error.details || undefined, {}, error);
}

/** Whether the call may simply be made again: nothing answered, or nothing was admitted. */
export const isTransient = (error: unknown): boolean =>
  error instanceof BbsError && (error.code === "Unavailable" || error.code === "Timeout");
