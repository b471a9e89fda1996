// Pushes against a platform in memory, on a clock that moves only when told: switching over, taking back, rivals, the claim's renewal.
import { ActualLRP } from "@muster/proto/models/actual_lrp";
import { DesiredLRP, DesiredLRPSchedulingInfo, type DesiredLRPUpdate } from "@muster/proto/models/desired_lrp";
import { fakeClock } from "@muster/shared/clock";
import { BbsError } from "@muster/shared/errors";
import { beforeEach, describe, expect, it } from "vitest";
import type { AppCalls } from "../client/platform.js";
import { RefusedError, WaitedInVainError } from "../exit.js";
import { type AppAnnotation, formatAnnotation, parseAnnotation } from "./annotation.js";
import { deploy } from "./deploy.js";
import { type AppVersion, versionOf } from "./versions.js";

type RowState = Partial<Pick<ActualLRP, "state" | "crashCount" | "crashReason" | "placementError">>;

/** DesiredLRPs as they are, and every instance of them in the state the test says. */
class MemoryPlatform implements AppCalls {
  readonly clock = fakeClock();
  readonly signal = new AbortController().signal;
  readonly desired = new Map<string, DesiredLRP>();
  rowState: (processGuid: string) => RowState = () => ({ state: "RUNNING" });
  onDesire: () => void = () => undefined;

  async desire(lrp: DesiredLRP): Promise<void> {
    this.desired.set(lrp.processGuid, lrp);
    this.onDesire();
  }
  async update(processGuid: string, update: Partial<DesiredLRPUpdate>): Promise<void> {
    const lrp = this.desired.get(processGuid);
    if (lrp === undefined) throw new BbsError("ResourceNotFound");
    const annotation = update.optionalAnnotation?.value ?? lrp.annotation;
    this.desired.set(processGuid, { ...lrp, annotation, instances: update.optionalInstances?.value ?? lrp.instances });
  }
  async remove(processGuid: string): Promise<void> {
    this.desired.delete(processGuid);
  }
  async actualLRPs(filter: { readonly processGuid?: string }): Promise<ActualLRP[]> {
    const chosen = [...this.desired.values()].filter(
      (lrp) => filter.processGuid === undefined || lrp.processGuid === filter.processGuid,
    );
    return chosen.flatMap(({ processGuid, instances }) =>
      Array.from({ length: instances }, (_, index) =>
        ActualLRP.fromPartial({ actualLrpKey: { processGuid, index, domain: "muster-apps" }, ...this.rowState(processGuid) }),
      ),
    );
  }
  async schedulingInfos(): Promise<DesiredLRPSchedulingInfo[]> {
    return [...this.desired.values()].map(({ processGuid, annotation, instances }) =>
      DesiredLRPSchedulingInfo.fromPartial({ desiredLrpKey: { processGuid }, annotation, instances }),
    );
  }
  async clusterTimeMs(): Promise<number> {
    return this.clock.nowMs();
  }

  guids(): string[] {
    return [...this.desired.keys()].sort();
  }
  annotationOf(processGuid: string): AppAnnotation | undefined {
    return parseAnnotation(this.desired.get(processGuid)?.annotation ?? "");
  }
  async versions(): Promise<AppVersion[]> {
    return (await this.schedulingInfos()).flatMap((info) => versionOf(info) ?? []);
  }
}

const annotation = (version: number): AppAnnotation => ({
  name: "web",
  app_guid: "app",
  version,
  image: "web:latest",
  digest: "sha256:0",
  requested_state: "STARTED",
  wanted: 2,
  own_command: false,
  replaces: [],
  updating_until_ms: 0,
});
const lrp = (processGuid: string, version: number): DesiredLRP =>
  DesiredLRP.fromPartial({
    processGuid,
    instances: 2,
    startTimeoutMs: 60_000n,
    annotation: formatAnnotation(annotation(version)),
  });

let platform = new MemoryPlatform();
let failed: string[] = [];
beforeEach(() => {
  platform = new MemoryPlatform();
  failed = [];
});

async function push(processGuid: string, version: number, wait = true): Promise<void> {
  await deploy(platform, {
    desired: lrp(processGuid, version),
    annotation: annotation(version),
    clusterTimeMs: platform.clock.nowMs(),
    before: await platform.versions(),
    wait,
    onProgress: () => undefined,
    onFailed: async (guid) => {
      failed.push(guid);
    },
  });
}

/** Lets the push go on for that long; the error it ended with, if any. */
async function during(ms: number, pushing: Promise<void>): Promise<unknown> {
  const outcome = pushing.then(
    () => undefined,
    (error: unknown) => error,
  );
  await platform.clock.advance(ms);
  return outcome;
}

describe("a first push", () => {
  it("is done when every instance runs, and leaves no claim behind", async () => {
    await push("v1", 1);
    expect(platform.annotationOf("v1")).toEqual(annotation(1));
  });

  it("that crashes three times says why, and the app stays to be looked at", async () => {
    platform.rowState = () => ({ state: "CRASHED", crashCount: 3, crashReason: "Exited with status 3" });
    await expect(push("v1", 1)).rejects.toThrow("Exited with status 3");
    expect(platform.guids()).toEqual(["v1"]);
    expect(platform.annotationOf("v1")?.updating_until_ms).toBe(0);
    expect(failed).toEqual(["v1"]);
  });

  it("without a place gives up after ten seconds, not at once", async () => {
    platform.rowState = () => ({ state: "UNCLAIMED", placementError: "insufficient resources: memory" });
    const error = await during(11_000, push("v1", 1));
    expect(error).toBeInstanceOf(WaitedInVainError);
    expect(String(error)).toContain("insufficient resources: memory");
    expect(platform.clock.elapsedMs()).toBeGreaterThanOrEqual(10_000);
  });
});

describe("an update", () => {
  it("puts the new version in the old one's place", async () => {
    await push("v1", 1);
    await push("v2", 2);
    expect(platform.guids()).toEqual(["v2"]);
    expect(platform.annotationOf("v2")?.replaces).toEqual([]);
  });

  it("that does not start is taken back, and the old version is untouched", async () => {
    await push("v1", 1);
    const before = platform.desired.get("v1");
    platform.rowState = (guid) =>
      guid === "v1" ? { state: "RUNNING" } : { state: "CRASHED", crashCount: 3, crashReason: "bad" };
    await expect(push("v2", 2)).rejects.toThrow(WaitedInVainError);
    expect(platform.guids()).toEqual(["v1"]);
    expect(platform.desired.get("v1")).toEqual(before);
  });

  it("keeps the old version until the new one is healthy, and renews its claim meanwhile", async () => {
    await push("v1", 1);
    platform.rowState = (guid) => ({ state: guid === "v1" ? "RUNNING" : "CLAIMED" });
    const pushing = push("v2", 2);
    await platform.clock.advance(45_000);
    expect(platform.guids()).toEqual(["v1", "v2"]);
    expect(platform.annotationOf("v2")?.replaces).toEqual(["v1"]);
    expect(platform.annotationOf("v2")?.updating_until_ms).toBeGreaterThan(platform.clock.nowMs());
    platform.rowState = () => ({ state: "RUNNING" });
    expect(await during(1_000, pushing)).toBeUndefined();
    expect(platform.guids()).toEqual(["v2"]);
  });

  it("is refused while another one is at work, and allowed once its claim has run out", async () => {
    await push("v1", 1);
    await push("v2", 2, false);
    await expect(push("v3", 3)).rejects.toThrow(RefusedError);
    expect(platform.guids()).toEqual(["v1", "v2"]);
    await platform.clock.advance(31_000);
    await push("v3", 3);
    expect(platform.guids()).toEqual(["v3"]);
  });

  it("that meets one begun in the same instant ends with a single version, and the loser is told", async () => {
    await push("v1", 1);
    // A rival that did not see us, nor we it; its claim has run out by the time we look.
    platform.onDesire = () => {
      platform.desired.set("a-rival", { ...lrp("a-rival", 2) });
    };
    await expect(push("v2", 2)).rejects.toThrow("took precedence");
    expect(platform.guids()).toEqual(["a-rival"]);
  });
});
