// Each reason why an app does not run, with the sentence that says so and the one that says what to do.
import { describe, expect, it } from "vitest";
import type { InstanceShape } from "../apps/shapes.js";
import { crashAdvice } from "./crash.js";
import { explainApp, explainInstance, type InstanceFacts, missingAnswer, type Surroundings } from "./instance.js";
import { type Refusal, whyNoPlace } from "./placement.js";
import { explainTask } from "./task.js";

const row: InstanceShape = {
  index: 0,
  state: "UNCLAIMED",
  presence: "ORDINARY",
  instance_guid: "",
  cell_id: "cell-1",
  zone: "z1",
  address: "",
  ports: [],
  routable: false,
  since: "2026-01-01T00:00:00.000Z",
  crash_count: 0,
  crash_reason: "",
  placement_error: "",
};
const surroundings: Surroundings = {
  app: "web",
  dockerEnabled: true,
  wanted: 3,
  domainFresh: true,
  auctioneer: true,
  lostCells: [],
};
const of = (change: Partial<InstanceShape>, facts: Partial<InstanceFacts> = {}) =>
  explainInstance({ ...surroundings, refusals: [], ...facts, row: { ...row, ...change } });

describe("an instance", () => {
  it.each<[string, Partial<InstanceShape>, Partial<InstanceFacts>, string, string]>([
    ["that runs", { state: "RUNNING" }, {}, "running on cell-1 since", "nothing"],
    ["that starts", { state: "CLAIMED" }, {}, "starting on cell-1", "muster logs web"],
    ["that waits for its first place", {}, {}, "waiting for a place", "ask again"],
    ["without an auctioneer", {}, { auctioneer: false }, "no auctioneer answers", "muster status"],
    [
      "kept down by the flag",
      {},
      { dockerEnabled: false },
      "kept down: the feature flag diego_docker is off",
      "enable-feature-flag diego_docker",
    ],
    [
      "being stopped by the flag",
      { state: "RUNNING" },
      { dockerEnabled: false },
      "is being stopped on cell-1",
      "enable-feature-flag",
    ],
    [
      "evacuating",
      { state: "RUNNING", presence: "EVACUATING" },
      {},
      "cell-1, which is being emptied",
      "muster evacuate cell-1 --cancel",
    ],
    [
      "whose cell is lost",
      { state: "RUNNING", presence: "SUSPECT" },
      {},
      "nobody hears of its cell cell-1",
      "muster forget cell-1",
    ],
    [
      "surplus in a stale domain",
      { state: "RUNNING", index: 5 },
      { domainFresh: false },
      "nobody vouches for the domain muster-apps",
      "let `muster up` run",
    ],
    ["surplus", { state: "RUNNING", index: 5 }, {}, "is being stopped on cell-1", "nothing"],
    [
      "that waits after a crash",
      { crash_count: 1, crash_reason: "APP: Exited with status 1" },
      {},
      "again after crash 1: APP: Exited with status 1",
      "muster logs web --recent",
    ],
  ])("%s", (_, change, facts, why, whatToDo) => {
    const answer = of(change, facts);
    expect(answer.why).toContain(why);
    expect(answer.what_to_do).toContain(whatToDo);
    expect(answer.next_try_at).toBe("");
  });

  it("in back-off has the time of the next try", () => {
    expect(of({ state: "CRASHED", crash_count: 3, crash_reason: "APP/PROC/WEB: Exited with status 1" })).toEqual({
      why: "crashed 3 times, last at 2026-01-01T00:00:00.000Z: APP/PROC/WEB: Exited with status 1; the next try is due at 2026-01-01T00:00:30.000Z",
      what_to_do: "see what it said last with `muster logs web --recent`, mend it and push it again",
      next_try_at: "2026-01-01T00:00:30.000Z",
    });
  });

  it("given up has none, and says how to try it all the same", () => {
    const answer = of({ state: "CRASHED", crash_count: 200, crash_reason: "exited" });
    expect(answer.why).toContain("not tried again by itself");
    expect(answer.what_to_do).toContain("muster restart-app-instance web 0");
    expect(answer.next_try_at).toBe("");
  });

  it("that has no record yet says who makes it", () => {
    expect(missingAnswer.what_to_do).toContain("muster converge");
  });
});

const refusal = (filter: string, asked: string, available: string, cellId = "cell-1"): Refusal => ({
  cell_id: cellId,
  zone: "z1",
  filter,
  asked,
  available,
});
const app = { kind: "app", name: "web" } as const;

describe("no place", () => {
  it.each<[string, Refusal[], string, string]>([
    [
      "too large for any cell",
      [refusal("memory", "5000 MB", "900 MB of 1024 MB"), refusal("memory", "5000 MB", "100 MB of 2048 MB", "cell-2")],
      "asks for 5000 MB of memory, and the largest cell that could take it has 2048 MB altogether",
      "at most 2048 MB with `muster push web -m SIZE`",
    ],
    [
      "too large for what is free",
      [refusal("memory", "512 MB", "100 MB of 1024 MB"), refusal("memory", "512 MB", "300 MB of 1024 MB", "cell-2")],
      "no cell that could take it has more than 300 MB free",
      "as soon as there is room",
    ],
    ["too much disk", [refusal("disk", "512 MB", "100 MB of 1024 MB")], "512 MB of disk", "`muster push web -k SIZE`"],
    [
      "too many containers",
      [refusal("containers", "1", "0 of 249")],
      "cell-1 has no room for another container (0 of 249 left)",
      "add a cell",
    ],
    [
      "a tag that no cell has",
      [refusal("placement-tags", "gpu", "none")],
      "the placement tags gpu, and cell-1 offers none",
      "add a cell with the placement tags gpu",
    ],
    [
      "cells that are reserved",
      [refusal("placement-tags", "none", "isolated")],
      "asks for no placement tags, and cell-1 takes only work that asks for theirs (isolated)",
      "add a cell without placement tags",
    ],
    [
      "another kind of image",
      [refusal("rootfs", "preloaded:cflinuxfs4", "docker")],
      "runs preloaded:cflinuxfs4",
      "add a cell that runs",
    ],
    ["volume drivers", [refusal("volume-drivers", "nfs", "none")], "needs the volume drivers nfs", "volume drivers nfs"],
    [
      "cells that are being emptied",
      [refusal("evacuating", "a cell that takes work", "evacuating")],
      "cell-1 could take it and is being emptied",
      "muster evacuate cell-1 --cancel",
    ],
    [
      "cells that are unhealthy",
      [refusal("unhealthy", "a cell that takes work", "the disk is full")],
      "cell-1 could take it and is unhealthy (the disk is full)",
      "mend cell-1",
    ],
    [
      "cells that are silent",
      [refusal("silent", "a cell that takes work", "silent")],
      "hears nothing of cell-1",
      "muster status",
    ],
    [
      "a cell that refused",
      [refusal("refused", "to take the work", "no container left")],
      "cell-1 refused it: no container left",
      "offered again",
    ],
    [
      "a filter of a later version",
      [refusal("phase-of-moon", "full", "new")],
      "cell-1 lacks phase-of-moon",
      "add a cell that has it",
    ],
    ["no cells, or nobody to ask", [], "no cell that could take it is known", "muster cells"],
  ])("%s", (_, refusals, why, whatToDo) => {
    const answer = whyNoPlace("the error", refusals, app);
    expect(answer.why).toContain("has no place (the error)");
    expect(answer.why).toContain(why);
    expect(answer.what_to_do).toContain(whatToDo);
  });

  it("is told of the cells that came closest, and of those that a person could bring back", () => {
    const refusals = [refusal("evacuating", "", "evacuating"), refusal("memory", "512 MB", "1 MB of 900 MB", "cell-2")];
    const answer = whyNoPlace("insufficient resources: memory", refusals, app);
    expect(answer.what_to_do).toContain("-m SIZE");
    expect(answer.why).toContain("cell-1 could take it and is being emptied");
  });

  it("is told of cells that are lost: beside those that refuse, and alone where none is left", () => {
    const refusals = [refusal("memory", "512 MB", "1 MB of 900 MB", "cell-2")];
    expect(whyNoPlace("error", refusals, app, ["cell-1"]).why).toContain("1 MB free; nobody hears of cell-1 any more");
    const alone = whyNoPlace("error", [refusal("silent", "", "no state for 1 s", "cell-2")], app, ["cell-2", "cell-1"]);
    expect(alone.why).toBe("has no place (error): no cell is left: nobody hears of cell-1, cell-2 any more");
    expect(alone.what_to_do).toContain("bring cell-1, cell-2 back");
  });

  it("is part of an instance's answer", () => {
    const refusals = [refusal("memory", "5000 MB", "900 MB of 1024 MB")];
    expect(of({ placement_error: "insufficient resources: memory" }, { refusals }).why).toContain("1024 MB altogether");
  });
});

describe("a crash with the registry's words", () => {
  it.each([
    ["failed to create container: there is no image check/app:v1 in registry registry.example", "its registry does not have it"],
    [
      "failed to create container: registry registry.example refuses access to check/app:v1: it does not exist, or it needs another user name or password",
      "--docker-username",
    ],
    [
      "failed to create container: registry registry.example speaks plain HTTP; list it as an insecure registry to allow that",
      "--insecure-registry",
    ],
    ["failed to create container: the certificate of registry registry.example is not trusted", "--registry-ca"],
    ["failed to create container: registry registry.example has had too many requests from here", "log in"],
    ["failed to create container: registry registry.example cannot be reached (connection refused)", "bring the registry back"],
    ["failed to create container: registry registry.example did not answer in time", "bring the registry back"],
    ["failed to create container: the cell has no disk space left for check/app:v1", "free disk on that cell's machine"],
    ["failed to create container: the image check/app:v1 could not be fetched", "the container could not be made"],
    ["APP/PROC/WEB: Exited with status 137 (out of memory)", "muster push web -m SIZE"],
    ["Instance never healthy after 1m0s: Failed to make TCP connection", "must listen on its port"],
    ["APP/PROC/WEB: Exited with status 1", "muster logs web --recent"],
    ["something else", "muster events web"],
  ])("%s", (reason, whatToDo) => {
    expect(crashAdvice("web", reason)).toContain(whatToDo);
  });
});

describe("the app as a whole", () => {
  it.each<[string, Partial<Surroundings> & { stopped?: boolean }, string, string]>([
    ["with the flag off", { dockerEnabled: false }, "diego_docker is off", "muster enable-feature-flag diego_docker"],
    ["stopped", { stopped: true }, "web is stopped", "muster start web"],
    ["scaled to nothing", { wanted: 0 }, "scaled to 0", "muster scale web -i N"],
    ["in a stale domain", { domainFresh: false }, "nobody vouches for the domain muster-apps", "muster up"],
  ])("%s", (_, change, why, whatToDo) => {
    const answer = explainApp({ ...surroundings, stopped: false, ...change });
    expect(answer?.why).toContain(why);
    expect(answer?.what_to_do).toContain(whatToDo);
  });

  it("that should run has nothing to say but of its instances", () => {
    expect(explainApp({ ...surroundings, stopped: false })).toBeUndefined();
  });
});

describe("a task that waits", () => {
  const facts = {
    app: "web",
    auctioneer: true,
    lostCells: [],
    task: { rejectionCount: 0, rejectionReason: "" },
    refusals: [],
    maxRetries: 3,
  };

  it("has just been asked for", () => {
    expect(explainTask(facts).why).toBe("waits for a place");
  });

  it.each([
    [1, 3, "(refused once; it is tried again every 30 s, and fails when it has been refused 4 times)"],
    [2, 9, "(refused 2 times; it is tried again every 30 s, and fails when it has been refused 10 times)"],
    [2, undefined, "(refused 2 times; it is tried again every 30 s)"],
  ])("was refused %i times of %s that are forgiven, and says how often that may go on", (rejectionCount, maxRetries, why) => {
    const refusals = [refusal("memory", "9999 MB", "10 MB of 1024 MB")];
    const task = { rejectionCount, rejectionReason: "insufficient resources: memory" };
    const answer = explainTask({ ...facts, refusals, maxRetries, task });
    expect(answer.why).toContain(why);
    expect(answer.what_to_do).toContain("`muster run-task web --command CMD -m SIZE`");
  });

  it("without an auctioneer", () => {
    expect(explainTask({ ...facts, auctioneer: false }).what_to_do).toContain("muster status");
  });
});
