// How the command line ends: exit codes as scripts rely on them, and the errors that carry them.
import { BbsError, isBbsError, OperatorError } from "@muster/shared/errors";

/** Source: cli.md. */
export const exitCodes = { done: 0, unexpected: 1, usage: 2, refused: 3, unreachable: 4, waitedInVain: 5 } as const;
export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes];

/** An end that was foreseen: one message for people, what to do about it, and the code for scripts. */
export class CliError extends Error {
  readonly exitCode: ExitCode;
  readonly hint: string | undefined;

  constructor(exitCode: ExitCode, message: string, hint?: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.exitCode = exitCode;
    this.hint = hint;
  }
}

export class UsageError extends CliError {
  override readonly name = "UsageError";
  constructor(message: string, hint?: string) {
    super(exitCodes.usage, message, hint);
  }
}

export class RefusedError extends CliError {
  override readonly name = "RefusedError";
  constructor(message: string, hint?: string, cause?: unknown) {
    super(exitCodes.refused, message, hint, cause);
  }
}

export class UnreachableError extends CliError {
  override readonly name = "UnreachableError";
  constructor(message: string, hint?: string, cause?: unknown) {
    super(exitCodes.unreachable, message, hint, cause);
  }
}

export class WaitedInVainError extends CliError {
  override readonly name = "WaitedInVainError";
  constructor(message: string, hint?: string) {
    super(exitCodes.waitedInVain, message, hint);
  }
}

/** A task ran to its end and failed: nothing is wrong with the command line or the platform. */
export class TaskFailedError extends CliError {
  override readonly name = "TaskFailedError";
  constructor(message: string) {
    super(exitCodes.unexpected, message);
  }
}

/** What became of a failed command, in the same words for every verb. */
export function explain(error: unknown): CliError {
  if (error instanceof CliError) return error;
  if (error instanceof OperatorError) return new RefusedError(error.message, error.hint, error);
  if (isGardenError(error)) return new RefusedError(`${error.message} (${error.code})`, undefined, error);
  if (error instanceof BbsError) return explainBbs(error);
  return new CliError(exitCodes.unexpected, error instanceof Error ? error.message : String(error), undefined, error);
}

/** By name: the class is loaded only where images are inspected. */
const isGardenError = (error: unknown): error is Error & { readonly code: string } =>
  error instanceof Error && error.name === "GardenError" && "code" in error;

/** gRPC's own words about a dead connection, without its internals. */
const plainly = (message: string): string =>
  message.replace(/^No connection established\. Last error: (?:Error: )?/, "").replace(/ Resolution note:.*$/, "");

function explainBbs(error: BbsError): CliError {
  const typed = `${error.code}: ${plainly(error.message)}`.replace(/[.\s]+$/, "");
  switch (error.code) {
    case "Unavailable":
    case "Timeout":
      return new UnreachableError(`the platform does not answer (${typed})`, "is it up? See `muster status`", error);
    case "OutcomeUnknown":
      return new UnreachableError(`the platform went away in the middle of the call (${typed})`, "look, then try again", error);
    case "FeatureDisabled":
      return new RefusedError(`refused, ${typed}`, "turn Docker apps on with: muster enable-feature-flag diego_docker", error);
    case "Unimplemented":
      return new RefusedError(`not served yet (${typed})`, undefined, error);
    case "UnknownError":
      return new CliError(
        exitCodes.unexpected,
        `the platform failed (${typed})`,
        "its logs are in the home's logs folder",
        error,
      );
    default:
      return new RefusedError(`refused, ${typed}`, undefined, error);
  }
}

/** Whether `error` says that the flag for Docker apps is off, over gRPC or in Diego's words. */
export const isFeatureDisabled = (error: unknown): boolean => isBbsError(error, "FeatureDisabled");
