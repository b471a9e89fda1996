// `muster explain` on a real fleet: whatever keeps an app from running, it says why, and what a newcomer can do about it.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { DesiredLRP } from "@muster/proto/models/desired_lrp";
import { BBSServiceClient } from "@muster/proto/muster/v1/bbs";
import { dial, unary } from "@muster/shared/rpc";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { leftovers } from "../support/garden.js";
import { homeClient } from "../support/home-client.js";
import { pushImage, webCommand } from "../support/images.js";
import { Platform } from "../support/platform.js";
import { startRegistry, type TestRegistry } from "../support/registry.js";

interface Answer {
  readonly why: string;
  readonly what_to_do: string;
}

interface InstanceAnswer extends Answer {
  readonly index: number;
  readonly state: string;
  readonly presence: string;
  readonly since: string;
  readonly crash_count: number;
  readonly next_try_at: string;
  readonly cells: readonly {
    readonly cell_id: string;
    readonly filter: string;
    readonly asked: string;
    readonly available: string;
  }[];
}

interface Explanation extends Answer {
  readonly instances: readonly InstanceAnswer[];
  readonly tasks: readonly (Answer & Pick<InstanceAnswer, "cells"> & { readonly name: string })[];
}

const cells = ["cell-1", "cell-2"];

describe("explain", () => {
  let registry: TestRegistry;
  let platform: Platform;
  let bbs: InstanceType<typeof BBSServiceClient>;
  let model: DesiredLRP;

  beforeAll(async () => {
    registry = await startRegistry();
    const image = await pushImage(registry.host, { name: "check/app", cmd: webCommand, exposedPorts: ["8080/tcp"] });
    platform = await Platform.start([
      ...["--cells", "2", "--cell-memory", "512M", "--cell-disk", "1G", "--cell-containers", "3"],
      ...["--presence-ttl", "2s", "--insecure-registry", registry.host],
    ]);
    const { addresses, tls } = homeClient(platform.home);
    bbs = dial(BBSServiceClient, addresses, tls);
    await platform.muster("enable-feature-flag", "diego_docker");
    await platform.muster("push", "web", "--docker-image", image, "-m", "32M", "-k", "32M");
    const { process_guid: processGuid } = await platform.app("web");
    const { desiredLrp } = await unary(bbs.desiredLrpByProcessGuid.bind(bbs), { processGuid });
    if (desiredLrp === undefined) throw new Error("web is not desired");
    model = desiredLrp;
  });

  afterAll(async () => {
    try {
      bbs?.close();
      // Undefined when it never came up.
      await platform?.[Symbol.asyncDispose]();
    } finally {
      await registry.stop();
    }
    if (platform === undefined) return;
    expect((await Promise.all(cells.map((cell) => leftovers(platform.home, cell)))).flat()).toEqual([]);
  });

  /** An app like `web` but for its name and what is changed: what `push` has no flag for, too. */
  const desireApp = (name: string, change: Partial<DesiredLRP>): Promise<unknown> => {
    const annotation = JSON.stringify({ ...JSON.parse(model.annotation), name, app_guid: `guid-of-${name}` });
    const desiredLrp = { ...model, processGuid: `guid-of-${name}-1`, annotation, ...change };
    return unary(bbs.desireDesiredLrp.bind(bbs), { desiredLrp });
  };
  const explain = (target: string): Promise<Explanation> => platform.json<Explanation>("explain", target);
  /** The answer about the instance, once it is no longer that it has only just been asked for. */
  const settled = async (target: string, fits: (answer: InstanceAnswer) => boolean): Promise<InstanceAnswer> => {
    let found: InstanceAnswer | undefined;
    await platform.eventually(
      `an answer about ${target}`,
      async () => {
        found = (await explain(target)).instances.find(fits);
        return found !== undefined;
      },
      30_000,
    );
    return found as InstanceAnswer;
  };
  const hasNoPlace = ({ why }: InstanceAnswer): boolean => why.startsWith("has no place");
  const cellStates = async (): Promise<string[]> =>
    (await platform.json<{ readonly state: string }[]>("cells")).map(({ state }) => state);

  describe("what fits on no cell", () => {
    const volumeMount = { driver: "nfs", containerDir: "/data", mode: "rw", shared: { volumeId: "v", mountConfig: "" } };
    it.each<{
      what: string;
      change: () => Partial<DesiredLRP>;
      filter: string;
      asked: string;
      available: string;
      why: string;
      todo: string;
    }>([
      {
        what: "memory",
        change: () => ({ memoryMb: 4_096 }),
        filter: "memory",
        asked: "4096 MB",
        available: "512 MB of 512 MB",
        why: "has no place (insufficient resources: memory): it asks for 4096 MB of memory, and the largest cell that could take it has 512 MB altogether",
        todo: "ask for at most 512 MB with `muster push memory -m SIZE`, or let `muster up` make larger cells with --cell-memory SIZE",
      },
      {
        what: "disk",
        change: () => ({ diskMb: 9_000 }),
        filter: "disk",
        asked: "9000 MB",
        available: "1024 MB of 1024 MB",
        why: "has no place (insufficient resources: disk): it asks for 9000 MB of disk, and the largest cell that could take it has 1024 MB altogether",
        todo: "ask for at most 1024 MB with `muster push disk -k SIZE`, or let `muster up` make larger cells with --cell-disk SIZE",
      },
      {
        what: "tags",
        change: () => ({ PlacementTags: ["gpu"] }),
        filter: "placement-tags",
        asked: "gpu",
        available: "none",
        why: 'has no place (found no compatible cell with placement tag "gpu"): it asks for cells with the placement tags gpu, and cell-1, cell-2 offer none',
        todo: "add a cell with the placement tags gpu, or desire the work without them",
      },
      {
        what: "volumes",
        change: () => ({ volumeMounts: [volumeMount] as never }),
        filter: "volume-drivers",
        asked: "nfs",
        available: "local",
        why: "has no place (found no compatible cell with required volume drivers): it needs the volume drivers nfs, and cell-1, cell-2 offer local",
        todo: "add a cell with the volume drivers nfs",
      },
      {
        what: "stack",
        change: () => ({ rootFs: "preloaded:cflinuxfs4" }),
        filter: "rootfs",
        asked: "preloaded:cflinuxfs4",
        available: "docker",
        why: "has no place (found no compatible cell for required rootfs): it needs a cell that runs preloaded:cflinuxfs4, and cell-1, cell-2 do not",
        todo: "add a cell that runs preloaded:cflinuxfs4, or use an image",
      },
    ])("$what", async ({ what, change, filter, asked, available, why, todo }) => {
      await desireApp(what, change());
      const answer = await settled(what, hasNoPlace);
      expect(answer).toMatchObject({ state: "UNCLAIMED", why, what_to_do: todo, next_try_at: "" });
      expect(answer.cells.map(({ cell_id }) => cell_id)).toEqual(cells);
      expect(answer.cells[1]).toMatchObject({ filter, asked, available });
    });
  });

  it("a task that waits: what it lacks, how often it was refused and when it fails", async () => {
    await platform.muster("run-task", "web", "--command", "true", "-m", "4G", "--name", "heavy");
    await platform.eventually(
      "it was refused",
      async () => (await explain("web")).tasks[0]?.why.includes("refused") === true,
      20_000,
    );
    const [task] = (await explain("web")).tasks;
    expect(task?.name).toBe("heavy");
    expect(task?.why).toMatch(
      /asks for 4096 MB of memory.* \(refused (once|\d times); .*fails when it has been refused 4 times\)$/,
    );
    expect(task?.what_to_do).toContain("ask for at most 512 MB with `muster run-task web --command CMD -m SIZE`");
    expect(task?.cells.map(({ filter }) => filter)).toEqual(["memory", "memory"]);
  });

  it("a crash loop: the exit status and the time of the next try, 30 s after the third crash", async () => {
    const runAction = model.action?.runAction;
    await desireApp("crashing", {
      action: { ...model.action, runAction: { ...runAction, path: "/bin/sh", args: ["-c", "exit 3"] } } as never,
    });
    const answer = await settled("crashing", ({ state, crash_count: count }) => state === "CRASHED" && count === 3);
    expect(answer.why).toContain("crashed 3 times");
    expect(answer.why).toContain("Exited with status 3; the next try is due at ");
    expect(Date.parse(answer.next_try_at) - Date.parse(answer.since)).toBe(30_000);
    expect(answer.what_to_do).toBe("see what it said last with `muster logs crashing --recent`, mend it and push it again");
  });

  it("and the metrics count it by reason, as Prometheus scrapes them", async () => {
    const { services } = JSON.parse(await readFile(join(platform.home, "run", "services.json"), "utf8")) as {
      readonly services: readonly { readonly name: string; readonly metrics_address: string }[];
    };
    const scrape = async (name: string): Promise<(sample: string) => number | undefined> => {
      const address = services.find((service) => service.name === name)?.metrics_address;
      const lines = (await (await fetch(`http://${address}/metrics`)).text()).split("\n");
      return (sample) => {
        const [metric = "", ...labels] = sample.split(/[{,}]/).filter((part) => part !== "");
        const line = lines.find((one) => new RegExp(`^${metric}[{ ]`).test(one) && labels.every((label) => one.includes(label)));
        return line === undefined ? undefined : Number(line.slice(line.lastIndexOf(" ") + 1));
      };
    };
    const auctioneer = await scrape("auctioneer-1");
    for (const reason of ["memory", "disk", "placement-tags", "volume-drivers", "rootfs"])
      expect(auctioneer(`auctioneer_placement_failures_total{kind="lrp",reason="${reason}"}`), reason).toBeGreaterThan(0);
    expect(auctioneer('auctioneer_placement_failures_total{kind="task",reason="memory"}')).toBeGreaterThan(0);
    expect(auctioneer('auctioneer_lrp_auctions_total{result="placed"}')).toBeGreaterThan(0);
    expect(auctioneer("auctioneer_longest_wait_seconds")).toBeGreaterThan(1);
    expect(auctioneer("auctioneer_auction_duration_seconds_count")).toBeGreaterThan(0);
    expect(auctioneer("auctioneer_fetch_states_duration_seconds_count")).toBeGreaterThanOrEqual(2);
    const converger = await scrape("converger-1");
    expect(converger("converger_lrp_convergence_duration_seconds_count")).toBeGreaterThan(0);
    expect(converger("converger_oldest_unplaced_seconds")).toBeGreaterThanOrEqual(0);
  });

  it("too many containers", async () => {
    await desireApp("many", { instances: 6 });
    const { why, what_to_do: todo } = await settled("many", hasNoPlace);
    expect(why).toBe(
      "has no place (insufficient resources: containers): cell-1, cell-2 have no room for another container (0 of 3 left)",
    );
    expect(todo).toContain("scale or delete apps, add a cell, or let `muster up` allow more with --cell-containers N");
    await platform.muster("delete", "many", "-f");
  });

  it("cells that are being emptied: the old copy runs on, and the way back is said", async () => {
    await Promise.all(cells.map((cell) => platform.muster("evacuate", cell)));
    const waiting = await settled("web", hasNoPlace);
    expect(waiting.why).toMatch(/cell-1, cell-2 could take it and are being emptied$/);
    expect(waiting.what_to_do).toBe("add a cell, or take an evacuation back with `muster evacuate cell-1 --cancel`");
    const copy = (await explain("web")).instances.find(({ presence }) => presence === "EVACUATING");
    expect(copy?.why).toMatch(/^runs on cell-[12], which is being emptied, until its replacement runs$/);
    expect(await platform.muster("explain", "web")).toContain("web/0 (the old copy): runs on cell-");
    await Promise.all(cells.map((cell) => platform.muster("evacuate", cell, "--cancel")));
    await platform.eventually("web runs as before", async () => (await platform.running("web")).length === 1, 20_000);
  });

  it("the flag that is off, and the domain that nobody vouches for", async () => {
    await platform.muster("disable-feature-flag", "diego_docker");
    const off = await explain("web");
    expect(off.why).toBe("the feature flag diego_docker is off: every Docker app wants 0 instances");
    expect(off.what_to_do).toBe("turn Docker apps on with `muster enable-feature-flag diego_docker`");
    await platform.muster("enable-feature-flag", "diego_docker");
    process.kill(platform.pid, "SIGSTOP");
    try {
      await unary(bbs.upsertDomain.bind(bbs), { domain: "muster-apps", ttl: 1 });
      const stale = async (): Promise<boolean> => (await explain("web")).why === "nobody vouches for the domain muster-apps";
      await platform.eventually("the domain is stale", stale, 20_000);
      expect((await explain("web")).what_to_do).toContain("let `muster up` run");
    } finally {
      process.kill(platform.pid, "SIGCONT");
    }
  });

  it("an auctioneer that hangs, and cells that hang or are gone", async () => {
    const auctioneer = await platform.service("auctioneer");
    process.kill(auctioneer.pid, "SIGSTOP");
    try {
      await desireApp("late", {});
      const [answer] = (await explain("late")).instances;
      expect(answer?.why).toBe("waits for a place, and no auctioneer answers: nothing is placed");
      expect(answer?.what_to_do).toContain("see `muster status` and the auctioneer's log");
    } finally {
      process.kill(auctioneer.pid, "SIGCONT");
    }
    const reps = await Promise.all(cells.map((cell) => platform.service("rep", cell)));
    for (const { pid } of reps) process.kill(pid, "SIGSTOP");
    try {
      await desireApp("later", {});
      const gone = await settled("later", ({ why }) => why.includes("nobody hears of cell-1, cell-2"));
      expect(gone.why).toBe(
        "has no place (unable to communicate to compatible cells): no cell is left: nobody hears of cell-1, cell-2 any more",
      );
      expect(gone.what_to_do).toContain("bring cell-1, cell-2 back");
    } finally {
      for (const { pid } of reps) process.kill(pid, "SIGCONT");
    }
    await platform.eventually("both are back", async () => (await cellStates()).every((state) => state === "healthy"), 30_000);
  });
});
