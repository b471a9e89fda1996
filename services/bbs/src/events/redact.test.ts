// No secret in events: walked over a definition that has one wherever a definition can have one.
import { Action } from "@muster/proto/models/actions";
import { DesiredLRP } from "@muster/proto/models/desired_lrp";
import { TaskDefinition } from "@muster/proto/models/task";
import { expect, it } from "vitest";
import { redactedDesiredLRP, redactedTaskDefinition } from "./redact.js";

const secret = "hunter2";
const run = Action.fromPartial({
  runAction: {
    path: "/bin/app",
    user: "vcap",
    args: ["--port", "8080"],
    env: [{ name: "PASSWORD", value: secret }],
    volumeMountedFiles: [{ path: "/etc/key", content: secret }],
  },
});
/** The secret below every kind of action that wraps another. */
const nested = [
  { timeoutAction: { action: run, timeoutMs: 1_000n } },
  { emitProgressAction: { action: run } },
  { tryAction: { action: run } },
  { parallelAction: { actions: [run, run] } },
  { serialAction: { actions: [run] } },
  { codependentAction: { actions: [run] } },
].reduce<Action>(
  (inner, wrapper) => Action.fromPartial({ serialAction: { actions: [inner, Action.fromPartial(wrapper)] } }),
  run,
);

const shared = {
  environmentVariables: [{ name: "TOKEN", value: secret }],
  action: nested,
  imageUsername: secret,
  imagePassword: secret,
  volumeMounts: [
    { driver: "nfs", containerDir: "/data", mode: "rw", shared: { volumeId: "v", mountConfig: secret } },
    {
      driver: "disk",
      containerDir: "/disk",
      mode: "r",
      dedicated: { mounterId: "m", mountConfig: secret, deviceConfig: secret },
    },
  ],
  volumeMountedFiles: [{ path: "/etc/token", content: secret }],
};

it("a DesiredLRP loses its secrets and keeps the rest", () => {
  const whole = DesiredLRP.fromPartial({
    ...shared,
    processGuid: "p",
    setup: nested,
    monitor: nested,
    sidecars: [{ action: nested, memoryMb: 1, diskMb: 1 }],
  });
  const shown = redactedDesiredLRP(whole);
  expect(Buffer.from(DesiredLRP.encode(whole).finish()).includes(secret)).toBe(true);
  expect(Buffer.from(DesiredLRP.encode(shown).finish()).includes(secret)).toBe(false);
  expect(shown.environmentVariables).toEqual([{ name: "TOKEN", value: "" }]);
  expect(shown.volumeMounts[0]?.shared).toEqual({ volumeId: "v", mountConfig: "" });
  const text = Buffer.from(DesiredLRP.encode(shown).finish()).toString("latin1");
  for (const kept of ["PASSWORD", "/bin/app", "--port", "/etc/key", "/etc/token", "/data"]) expect(text).toContain(kept);
});

it("a task's definition loses its secrets and keeps the rest", () => {
  const whole = TaskDefinition.fromPartial({ ...shared, resultFile: "/tmp/result" });
  const shown = redactedTaskDefinition(whole);
  expect(Buffer.from(TaskDefinition.encode(whole).finish()).includes(secret)).toBe(true);
  expect(Buffer.from(TaskDefinition.encode(shown).finish()).includes(secret)).toBe(false);
  expect(shown.resultFile).toBe("/tmp/result");
  expect(shown.action?.serialAction?.actions).toHaveLength(2);
});
