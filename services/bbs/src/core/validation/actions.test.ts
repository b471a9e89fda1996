// Every row of bbs-semantics.md 2.4.
import { Action, type DeepPartial } from "@muster/proto/models/actions";
import { describe, expect, it } from "vitest";
import { checkAction } from "./actions.js";
import { validate } from "./faults.js";
import { fields, refusal } from "./testing.js";

const run = { runAction: { path: "p", user: "u" } };
const check = (action: DeepPartial<Action>): readonly string[] =>
  refusal(() => validate((faults) => checkAction(faults, "top", Action.fromPartial(action)))).slice(1);

describe("an action is refused:", () => {
  it.each<{ of: string; action: DeepPartial<Action>; says: readonly string[] }>([
    { of: "no member", action: {}, says: fields("inner-action") },
    { of: "run", action: { runAction: {} }, says: fields("path", "user") },
    { of: "download", action: { downloadAction: {} }, says: fields("from", "to", "user") },
    {
      of: "download with half a checksum",
      action: { downloadAction: { from: "f", to: "t", user: "u", checksumAlgorithm: "md5" } },
      says: fields("checksum value"),
    },
    {
      of: "download with the other half",
      action: { downloadAction: { from: "f", to: "t", user: "u", checksumValue: "x" } },
      says: fields("checksum algorithm"),
    },
    {
      of: "download with an unknown algorithm",
      action: { downloadAction: { from: "f", to: "t", user: "u", checksumAlgorithm: "crc32", checksumValue: "x" } },
      says: fields("invalid algorithm"),
    },
    { of: "upload", action: { uploadAction: {} }, says: fields("to", "from", "user") },
    { of: "timeout", action: { timeoutAction: {} }, says: fields("action", "timeout_ms") },
    {
      of: "timeout of less than nothing",
      action: { timeoutAction: { action: run, timeoutMs: -1n } },
      says: fields("timeout_ms"),
    },
    { of: "try", action: { tryAction: {} }, says: fields("action") },
    { of: "emit progress", action: { emitProgressAction: {} }, says: fields("action") },
    ...(["parallelAction", "serialAction", "codependentAction"] as const).flatMap((kind) => [
      { of: `empty ${kind}`, action: { [kind]: { actions: [] } }, says: fields("actions") },
      { of: `${kind} of nothing`, action: { [kind]: { actions: [run, {}] } }, says: fields("inner-action") },
      {
        of: `${kind} with a bad member`,
        action: { [kind]: { actions: [run, { runAction: { path: "p" } }] } },
        says: fields("user"),
      },
    ]),
    { of: "a nested action with no member", action: { tryAction: { action: {} } }, says: fields("inner-action") },
    {
      of: "a fault far down",
      action: { tryAction: { action: { serialAction: { actions: [{ tryAction: { action: { runAction: {} } } }] } } } },
      says: fields("path", "user"),
    },
    {
      of: "the first member counts",
      action: { downloadAction: {}, runAction: run.runAction },
      says: fields("from", "to", "user"),
    },
    {
      of: "an inspection within another",
      action: { tryAction: { action: { inspectImageAction: { imageUrl: "docker:///x" } } } },
      says: fields("inner-action"),
    },
  ])("$of", ({ action, says }) => {
    expect(check(action)).toEqual(says);
  });
});

describe("an action is accepted:", () => {
  it.each<{ of: string; action: DeepPartial<Action> }>([
    { of: "run without resource limits", action: run },
    {
      of: "download with a checksum in capitals",
      action: { downloadAction: { from: "f", to: "t", user: "u", checksumAlgorithm: "SHA1", checksumValue: "x" } },
    },
    { of: "upload", action: { uploadAction: { from: "f", to: "t", user: "u" } } },
    { of: "timeout of 1 ms", action: { timeoutAction: { action: run, timeoutMs: 1n } } },
    {
      of: "groups in groups",
      action: {
        parallelAction: { actions: [{ codependentAction: { actions: [run] } }, { serialAction: { actions: [run, run] } }] },
      },
    },
    { of: "progress", action: { emitProgressAction: { action: run } } },
  ])("$of", ({ action }) => {
    expect(check(action)).toEqual([]);
  });
});
