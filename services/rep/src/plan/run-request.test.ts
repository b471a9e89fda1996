// From a DesiredLRP to what the executor runs, or to the fault that refuses it.
import { Action } from "@muster/proto/models/actions";
import { asDomainName, asInstanceGuid, asProcessGuid } from "@muster/shared/model";
import { describe, expect, it } from "vitest";
import { action, desiredLRP } from "../testing/world.js";
import { decodeSkeleton, unsupportedAction } from "./actions.js";
import { buildRunRequest, type RunRequest } from "./run-request.js";

const key = { processGuid: asProcessGuid("p"), index: 1, domain: asDomainName("apps") };
const guid = asInstanceGuid("guid");
const none = Action.decode(new Uint8Array(0));
const build = (over: Parameters<typeof desiredLRP>[1] = {}) => buildRunRequest(desiredLRP("p", over), key, guid);
const request = (over: Parameters<typeof desiredLRP>[1] = {}): RunRequest => {
  const built = build(over);
  if ("fault" in built) throw new Error(built.fault);
  return built;
};

describe("a run request", () => {
  it("has Diego's defaults for checks, weight and log sources", () => {
    const built = request({ cpuWeight: 0, ports: [8080, 8080, 9090] });
    expect(built).toMatchObject({ cpuWeight: 1, ports: [8080, 9090], credentials: undefined });
    expect(built.start).toMatchObject({ logSource: "CELL", healthSource: "HEALTH", startTimeoutMs: 60_000 });
    expect(built.start.checks).toEqual([{ kind: "tcp", port: 8080, path: "/", timeoutMs: 1_000, intervalMs: 30_000 }]);
  });

  it("leaves out checks that say nothing usable", () => {
    const checks = [
      { tcpCheck: { port: 0, connectTimeoutMs: 0n, intervalMs: 0n }, httpCheck: undefined },
      { tcpCheck: undefined, httpCheck: undefined },
      { tcpCheck: undefined, httpCheck: { port: 80, path: "/up", requestTimeoutMs: 200n, intervalMs: 5_000n } },
    ];
    expect(request({ checkDefinition: { checks, readinessChecks: [], logSource: "H" } }).start).toMatchObject({
      healthSource: "H",
      checks: [{ kind: "http", port: 80, path: "/up", timeoutMs: 200, intervalMs: 5_000 }],
    });
    expect(request({ checkDefinition: { checks, readinessChecks: checks, logSource: "" } }).skippedChecks).toBe(4);
    expect(request().skippedChecks).toBe(0);
  });

  it("has Diego's defaults for http and readiness checks too, and no liveness check where there is only readiness", () => {
    const http = { port: 8080, path: "", requestTimeoutMs: 0n, intervalMs: 0n };
    const readinessChecks = [{ httpCheck: http, tcpCheck: undefined }];
    const built = request({ checkDefinition: { checks: [], readinessChecks, logSource: "" }, monitor: action() });
    expect(built.start).toMatchObject({
      checks: [],
      readinessChecks: [{ kind: "http", port: 8080, path: "/", timeoutMs: 1_000, intervalMs: 30_000 }],
      monitored: false,
    });
    expect(built.monitor).toBeUndefined();
  });

  it.each([
    { over: { startTimeoutMs: 0n }, startTimeoutMs: 0 },
    { over: { startTimeoutMs: 0n, deprecatedStartTimeoutS: 7 }, startTimeoutMs: 7_000 },
    { over: { startTimeoutMs: 90_000n, deprecatedStartTimeoutS: 7 }, startTimeoutMs: 90_000 },
  ])("waits $startTimeoutMs ms for a start when asked for $over", ({ over, startTimeoutMs }) => {
    expect(request(over).start.startTimeoutMs).toBe(startTimeoutMs);
  });

  it("takes image credentials only when both are there", () => {
    expect(request({ imageUsername: "u" }).credentials).toBeUndefined();
    expect(request({ imageUsername: "u", imagePassword: "p" }).credentials).toEqual({ username: "u", password: "p" });
  });

  it("runs setup first, and sidecars beside the action", () => {
    const sidecar = { action: action({ path: "/side" }), diskMb: 0, memoryMb: 0 };
    const tree = request({ setup: action({ path: "/setup" }), sidecars: [sidecar] }).action;
    const [setup, long] = tree.serialAction?.actions ?? [];
    expect(setup?.runAction?.path).toBe("/setup");
    expect(long?.codependentAction?.actions.map((one) => one.runAction?.path)).toEqual(["/app", "/side"]);
  });

  it("keeps no secrets in what is written to disk", () => {
    const secret = action({ env: [{ name: "PASSWORD", value: "hunter2" }], args: ["--token", "hunter2"] });
    const { start, action: whole } = request({ action: { ...none, serialAction: { actions: [secret], logSource: "" } } });
    const skeleton = decodeSkeleton(start.skeleton);
    expect(Buffer.from(Action.encode(skeleton).finish()).includes("hunter2")).toBe(false);
    expect(skeleton.serialAction?.actions[0]?.runAction).toMatchObject({
      path: "/app",
      logSource: "APP/PROC/WEB",
      env: [],
      args: [],
    });
    expect(whole.serialAction?.actions[0]?.runAction?.args).toEqual(["--token", "hunter2"]);
  });

  it("resolves metric tags that depend on the instance", () => {
    const metricTags = {
      source_id: { static: "s", dynamic: 0 as const },
      instance_id: { static: "", dynamic: 1 as const },
      guid: { static: "", dynamic: 2 as const },
    };
    expect(request({ metricTags }).start.metricTags).toEqual({ source_id: "s", instance_id: "1", guid: "guid" });
  });

  it.each([
    { what: "no action", over: { action: undefined }, fault: "container cannot have empty action" },
    { what: "an empty action", over: { action: none }, fault: "container cannot have empty action" },
    {
      what: "a group of none",
      over: { action: { ...none, parallelAction: { actions: [], logSource: "" } } },
      fault: "a parallel action needs at least one action in it",
    },
    { what: "privileges", over: { privileged: true }, fault: "this cell runs no privileged containers" },
    {
      what: "an empty monitor",
      over: { monitor: none, checkDefinition: undefined },
      fault: "container cannot have empty action",
    },
    {
      what: "an inspection, which is a task's alone",
      over: { action: { ...none, inspectImageAction: { imageUrl: "docker:///a", logSource: "" } } },
      fault: "this cell cannot carry out a inspectImage action",
    },
  ])("says why it cannot run $what", ({ over, fault }) => {
    expect(build(over)).toEqual({ fault });
  });

  it("refuses actions nested beyond reason", () => {
    let nested = action();
    for (let depth = 0; depth < 200; depth += 1) nested = { ...none, tryAction: { action: nested, logSource: "" } };
    expect(unsupportedAction(nested)).toMatch(/nested more than 100 deep/);
  });
});
