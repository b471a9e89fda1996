// A task's completion callback, decided: where it goes, what it says, and what an answer or the want of one means (bbs-semantics.md 7.1).
import type { Task } from "@muster/shared/model";

/** The URL to call; `undefined` for none, and for one that is not plain HTTP or HTTPS. */
export function callbackUrl({ completionCallbackUrl }: Pick<Task, "completionCallbackUrl">): URL | undefined {
  if (!URL.canParse(completionCallbackUrl)) return undefined;
  const url = new URL(completionCallbackUrl);
  return url.protocol === "http:" || url.protocol === "https:" ? url : undefined;
}

/** Diego's JSON: the annotation only when there is one, the time as a whole number of nanoseconds, beyond what a double holds. */
export function callbackBody(task: Task): string {
  const { taskGuid, failed, failureReason, result, annotation, createdAtNs } = task;
  const fields = JSON.stringify({
    task_guid: taskGuid,
    failed,
    failure_reason: failureReason,
    result,
    ...(annotation === "" ? {} : { annotation }),
  });
  return `${fields.slice(0, -1)},"created_at":${createdAtNs}}`;
}

/** What came of one attempt: a status, or none because of time, because the connection was closed, or because of anything else. */
export type Attempt = { readonly status: number } | { readonly failure: "timeout" | "closed" | "other" };

/** So often a callback is tried before the task is left to convergence. Source: convergence.md 0.1. */
export const callbackAttempts = 3;

/** A busy receiver is asked again; every other answer counts as heard, refusals and redirections too, which are not followed. */
export function judgeAttempt(attempt: Attempt): "delivered" | "again" | "given-up" {
  if ("status" in attempt) return attempt.status === 503 || attempt.status === 504 ? "again" : "delivered";
  return attempt.failure === "other" ? "given-up" : "again";
}

const closedCodes: ReadonlySet<unknown> = new Set(["ECONNRESET", "ECONNABORTED", "EPIPE"]);

/** Reads a transport error of Node's. */
export function failureOf(error: unknown): Attempt {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  if (code === "ETIMEDOUT") return { failure: "timeout" };
  return { failure: closedCodes.has(code) ? "closed" : "other" };
}
