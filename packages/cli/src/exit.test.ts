// Which exit code each failure has, and that people are told what to do.
import { GardenError } from "@muster/garden";
import { BbsError, type ErrorCode, errorCodes, OperatorError } from "@muster/shared/errors";
import { describe, expect, it } from "vitest";
import { explain, RefusedError, UsageError, WaitedInVainError } from "./exit.js";

const exitOf = (error: unknown): number => explain(error).exitCode;

describe("exit codes", () => {
  it.each<[unknown, number]>([
    [new UsageError("x"), 2],
    [new RefusedError("x"), 3],
    [new WaitedInVainError("x"), 5],
    [new OperatorError("no root", "become root"), 3],
    [new GardenError("image-not-found", "there is no image x"), 3],
    [new Error("surprise"), 1],
    ["surprise", 1],
  ])("of %s is %i", (error, code) => {
    expect(exitOf(error)).toBe(code);
  });

  const unreachable: ReadonlySet<ErrorCode> = new Set(["Unavailable", "Timeout", "OutcomeUnknown"]);
  it.each(Object.keys(errorCodes) as ErrorCode[])("of the BBS's %s follows from its meaning", (code) => {
    expect(exitOf(new BbsError(code))).toBe(code === "UnknownError" ? 1 : unreachable.has(code) ? 4 : 3);
  });
});

describe("messages", () => {
  it("name the type of a refusal and its text", () => {
    expect(explain(new BbsError("ResourceExists")).message).toBe(
      "refused, ResourceExists: the requested resource already exists",
    );
  });

  it("say how to turn Docker apps on", () => {
    const { hint } = explain(new BbsError("FeatureDisabled", "feature disabled: diego_docker"));
    expect(hint).toContain("enable-feature-flag diego_docker");
  });

  it("keep the hint of what a person must mend", () => {
    expect(explain(new OperatorError("no root", "become root")).hint).toBe("become root");
  });

  it("leave out gRPC's internals", () => {
    const raw = "No connection established. Last error: Error: connect ECONNREFUSED 127.0.0.1:1. Resolution note: ";
    expect(explain(new BbsError("Unavailable", raw)).message).toBe(
      "the platform does not answer (Unavailable: connect ECONNREFUSED 127.0.0.1:1)",
    );
  });
});
