// What `--help` shows: every verb there is, each with an example and --json.
import { describe, expect, it } from "vitest";
import { makeProgram } from "./program.js";

const program = makeProgram(() => {
  throw new Error("no verb is run here");
}, "0.0.0");

/** Written out by hand: scripts rely on these. */
const verbs = [
  ...["up", "push", "apps", "app", "scale", "stop", "start", "restart", "restage", "delete", "restart-app-instance", "logs"],
  ...["events", "env", "set-env", "unset-env", "run-task", "tasks", "terminate-task", "explain", "status", "cells", "cell"],
  ...["evacuate", "forget", "feature-flags", "feature-flag", "enable-feature-flag", "disable-feature-flag", "domains", "locks"],
  ...["lrps", "all-tasks", "plan", "simulate", "converge", "watch", "backup", "restore"],
];

it("every verb is in the help, and no other", () => {
  const shown = program.createHelp().visibleCommands(program);
  expect(shown.map((verb) => verb.name()).sort()).toEqual([...verbs, "help"].sort());
});

describe("help of", () => {
  it.each(program.commands.map((verb) => [verb.name(), verb] as const))("%s has an example and --json", (name, verb) => {
    let text = "";
    verb.configureOutput({ writeOut: (part) => (text += part) });
    verb.outputHelp();
    expect(text).toContain(`Example:\n  muster ${name}`);
    expect(text).toContain("--json");
  });

  it("the program lists the exit codes", () => {
    let text = "";
    program.configureOutput({ writeOut: (part) => (text += part) });
    program.outputHelp();
    for (const code of ["0 done", "2 wrong usage", "3 refused", "4 unreachable", "5 waited in vain"])
      expect(text).toContain(code);
  });
});
