// What older clients are shown (bbs-wire.md A.4).
import { Action } from "@muster/proto/models/actions";
import { DesiredLRP } from "@muster/proto/models/desired_lrp";
import { ImageLayer } from "@muster/proto/models/image_layer";
import { Task } from "@muster/proto/models/task";
import { describe, expect, it } from "vitest";
import { desiredLRPToV0, desiredLRPToV2, taskToV2, withMetricsGuid } from "./downgrade.js";

const run = Action.fromPartial({ runAction: { path: "/bin/true", user: "vcap" } });
const setup = Action.fromPartial({ runAction: { path: "/bin/setup", user: "vcap" } });
const layer = (fields: Partial<ImageLayer>): ImageLayer =>
  ImageLayer.fromPartial({ name: "l", url: "http://blobs/l.tgz", destinationPath: "/l", mediaType: 1, ...fields });
const shared = layer({ layerType: 1, digestAlgorithm: 1, digestValue: "abc" });
const sharedBare = layer({ layerType: 1 });
const exclusive = layer({ name: "x", layerType: 2, digestAlgorithm: 2, digestValue: "def" });
const download = {
  artifact: "x",
  from: "http://blobs/l.tgz",
  to: "/l",
  cacheKey: "sha512:def",
  logSource: "",
  user: "vcap",
  checksumAlgorithm: "sha512",
  checksumValue: "def",
};
const old = { name: "old", from: "http://blobs/old", to: "/old", cacheKey: "k", logSource: "log" };
const lrp = (fields: object): DesiredLRP =>
  DesiredLRP.fromPartial({ processGuid: "p", legacyDownloadUser: "vcap", action: run, ...fields });

describe("V3 -> V2", () => {
  it("SHARED layers stand before the cached dependencies", () => {
    const v2 = desiredLRPToV2(lrp({ imageLayers: [shared, sharedBare], cachedDependencies: [old] }));
    expect(v2.imageLayers).toEqual([]);
    expect(v2.cachedDependencies).toMatchObject([
      {
        name: "l",
        from: "http://blobs/l.tgz",
        to: "/l",
        cacheKey: "sha256:abc",
        checksumAlgorithm: "sha256",
        checksumValue: "abc",
      },
      { cacheKey: "http://blobs/l.tgz", checksumAlgorithm: "", checksumValue: "" },
      { name: "old", cacheKey: "k" },
    ]);
    expect(v2.setup).toBeUndefined();
  });

  it("EXCLUSIVE layers are downloaded in the setup, alone or before it", () => {
    const alone = desiredLRPToV2(lrp({ imageLayers: [exclusive] }));
    expect(alone.setup).toMatchObject({ parallelAction: { actions: [{ downloadAction: download }] }, serialAction: undefined });
    const before = desiredLRPToV2(lrp({ imageLayers: [exclusive], setup }));
    expect(before.setup?.serialAction?.actions).toMatchObject([
      { parallelAction: { actions: [{ downloadAction: download }] } },
      { runAction: { path: "/bin/setup" } },
    ]);
  });

  it("a task downloads them before its action", () => {
    const task = Task.fromPartial({
      taskGuid: "t",
      taskDefinition: { action: run, imageLayers: [exclusive, shared], legacyDownloadUser: "vcap" },
    });
    const v2 = taskToV2(task).taskDefinition;
    expect(v2?.imageLayers).toEqual([]);
    expect(v2?.cachedDependencies).toMatchObject([{ cacheKey: "sha256:abc" }]);
    expect(v2?.action?.serialAction?.actions).toMatchObject([
      { parallelAction: { actions: [{ downloadAction: download }] } },
      { runAction: { path: "/bin/true" } },
    ]);
  });

  it("leaves what has no layers as it is", () => {
    const plain = lrp({ setup, cachedDependencies: [old] });
    expect(desiredLRPToV2(plain)).toEqual(plain);
    expect(taskToV2(Task.fromPartial({ taskGuid: "t" })).taskDefinition).toBeUndefined();
  });
});

describe("V0, as the r0 streams show it", () => {
  const timeout = Action.fromPartial({ timeoutAction: { action: run, timeoutMs: 1_500n } });

  it("says time-outs in nanoseconds too, wherever they stand, and start time-outs in seconds", () => {
    const wrapped = Action.fromPartial({ serialAction: { actions: [{ codependentAction: { actions: [timeout] } }] } });
    const v0 = desiredLRPToV0(lrp({ action: wrapped, monitor: timeout, setup: timeout, startTimeoutMs: 61_999n }));
    const deep = v0.action?.serialAction?.actions[0]?.codependentAction?.actions[0];
    for (const each of [deep, v0.monitor, v0.setup]) {
      expect(each?.timeoutAction).toMatchObject({ deprecatedTimeoutNs: 1_500_000_000n, timeoutMs: 1_500n });
    }
    expect(v0.deprecatedStartTimeoutS).toBe(61);
    expect(timeout.timeoutAction?.deprecatedTimeoutNs).toBe(0n);
  });

  it("can be written also where a time-out is larger than its old field", () => {
    const longest = 2n ** 63n - 1n;
    const action = Action.fromPartial({ timeoutAction: { action: run, timeoutMs: longest } });
    const written = DesiredLRP.decode(DesiredLRP.encode(desiredLRPToV0(lrp({ action, startTimeoutMs: longest }))).finish());
    expect(written).toMatchObject({ startTimeoutMs: longest, action: { timeoutAction: { timeoutMs: longest } } });
  });

  it("shows what EmitProgress and Try wrap in their place", () => {
    const action = Action.fromPartial({ tryAction: { action: { emitProgressAction: { action: timeout, startMessage: "s" } } } });
    expect(desiredLRPToV0(lrp({ action })).action).toMatchObject({ timeoutAction: { timeoutMs: 1_500n }, tryAction: undefined });
  });

  it("downloads cached dependencies first thing in the setup, without their checksums", () => {
    const v0 = desiredLRPToV0(lrp({ imageLayers: [shared], cachedDependencies: [old], setup }));
    expect(v0.cachedDependencies).toEqual([]);
    expect(v0.setup?.serialAction?.actions).toMatchObject([
      {
        parallelAction: {
          actions: [
            { downloadAction: { artifact: "l", cacheKey: "sha256:abc", user: "vcap", checksumValue: "" } },
            { downloadAction: { artifact: "old", from: "http://blobs/old", to: "/old", logSource: "log", user: "vcap" } },
          ],
        },
      },
      { runAction: { path: "/bin/setup" } },
    ]);
    expect(desiredLRPToV0(lrp({ cachedDependencies: [old] })).setup?.serialAction?.actions).toHaveLength(1);
    expect(desiredLRPToV0(lrp({ setup })).setup).toEqual(setup);
  });
});

describe("the legacy metrics guid", () => {
  const source = { source_id: { static: "m", dynamic: 0 as const } };
  it.each([
    { name: "comes from the tag", given: { metricTags: source }, guid: "m", tags: source },
    { name: "makes the tag", given: { metricsGuid: "m" }, guid: "m", tags: source },
    { name: "is left beside a tag", given: { metricsGuid: "other", metricTags: source }, guid: "other", tags: source },
    { name: "is not made up", given: {}, guid: "", tags: {} },
  ])("$name", ({ given, guid, tags }) => {
    const shown = withMetricsGuid(lrp(given));
    expect(shown.metricsGuid).toBe(guid);
    expect(shown.metricTags).toEqual(tags);
  });
});
