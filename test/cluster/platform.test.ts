// A user's platform with real containers: spread, healing, lost services and cells, restarts, clean-up. Every check is what a user sees.
import { execFile } from "node:child_process";
import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { leftovers } from "../support/garden.js";
import { pushImage, webCommand } from "../support/images.js";
import { fetchInstance, type InstanceShape, Platform } from "../support/platform.js";
import { pidsOf } from "../support/processes.js";
import { startRegistry, type TestRegistry } from "../support/registry.js";

const run = promisify(execFile);

/** Everything on this machine that a platform of this home could have left: what its cells made, and processes. */
async function leftBehind(home: string, cells: number): Promise<string[]> {
  const ofCells = await Promise.all(Array.from({ length: cells }, (_, n) => leftovers(home, `cell-${n + 1}`)));
  const { stdout } = await run("ps", ["-eo", "args"]);
  return [...ofCells.flat(), ...stdout.split("\n").filter((line) => line.includes(home))];
}

const guids = (instances: readonly InstanceShape[]): string[] => instances.map((instance) => instance.instance_guid).sort();

describe("a platform with three cells in two zones", () => {
  let registry: TestRegistry;
  let platform: Platform;
  let image: string;

  beforeAll(async () => {
    registry = await startRegistry();
    image = `${registry.host}/check/app:v1`;
    await pushImage(registry.host, {
      name: "check/app",
      tag: "v1",
      cmd: webCommand,
      exposedPorts: ["8080/tcp"],
      page: "hello-from-test",
    });
    platform = await Platform.start(["--cells", "3", "--zones", "2", "--insecure-registry", registry.host]);
  });

  afterAll(async () => {
    try {
      // Undefined when it never came up.
      await platform?.[Symbol.asyncDispose]();
    } finally {
      await registry.stop();
    }
    if (platform !== undefined) expect(await leftBehind(platform.home, 3)).toEqual([]);
  });

  it("refuses Docker images while the flag is off, and says how to turn it on", async () => {
    const refused = await platform.try("push", "early", "--docker-image", image);
    expect(refused.status).toBe(3);
    expect(refused.stderr + refused.stdout).toMatch(/enable-feature-flag diego_docker/);
    expect(await platform.json("apps")).toEqual([]);
    await platform.muster("enable-feature-flag", "diego_docker");
  });

  it("spreads three instances over cells and zones, each answering, as root of a user namespace", async () => {
    await platform.muster("push", "web", "--docker-image", image, "-i", "3");
    const running = await platform.running("web");
    expect(new Set(running.map((instance) => instance.cell_id)).size).toBe(3);
    expect(new Set(running.map((instance) => instance.zone)).size).toBe(2);
    for (const instance of running) {
      expect(await fetchInstance(instance)).toContain("hello-from-test");
      const [pid] = await pidsOf(instance.instance_guid);
      expect((await stat(`/proc/${pid}`)).uid).toBeGreaterThanOrEqual(100_000);
    }
  });

  it("heals a killed process: a new instance guid, crash count 1", async () => {
    const [victim] = await platform.running("web");
    for (const pid of await pidsOf(victim?.instance_guid ?? "")) process.kill(pid, "SIGKILL");
    await platform.eventually(
      "the killed instance is replaced",
      async () => {
        const now = (await platform.running("web")).find((instance) => instance.index === victim?.index);
        return now !== undefined && now.instance_guid !== victim?.instance_guid && now.crash_count === 1;
      },
      15_000,
    );
  });

  it("a killed rep leaves its containers running, and adopts them", async () => {
    const before = guids(await platform.running("web"));
    const rep = await platform.service("rep", "cell-1");
    process.kill(rep.pid, "SIGKILL");
    await platform.eventually(
      "the rep is back",
      async () => {
        const now = await platform.service("rep", "cell-1");
        return now.pid !== rep.pid && now.healthy;
      },
      20_000,
    );
    // Longer than the presence lives: had the cell been taken for lost, the rows would say so by now.
    await platform.eventually(
      "all three rows are ordinary and running",
      async () => (await platform.running("web")).length === 3,
      15_000,
    );
    expect(guids(await platform.running("web"))).toEqual(before);
    for (const instance of await platform.running("web")) expect(await fetchInstance(instance)).toContain("hello-from-test");
  });

  it.each(["bbs", "auctioneer", "converger"])(
    "a scale to 20 survives a killed %s, and nothing restarts because of it",
    async (role) => {
      await platform.muster("scale", "web", "-i", "3");
      await platform.eventually("three run", async () => (await platform.app("web")).instances.length === 3, 30_000);
      const before = new Map((await platform.running("web")).map((instance) => [instance.index, instance.instance_guid]));
      const scaled = platform.muster("scale", "web", "-i", "20");
      const victim = await platform.service(role);
      process.kill(victim.pid, "SIGKILL");
      await scaled.catch(async () => {
        // Not acknowledged: the user tries again, as any script would.
        await platform.eventually(
          "the scale is taken",
          async () => (await platform.try("scale", "web", "-i", "20")).status === 0,
          30_000,
        );
      });
      await platform.eventually("all 20 run", async () => (await platform.running("web")).length === 20, 60_000, 300);
      for (const instance of await platform.running("web")) {
        if (before.has(instance.index)) expect(instance.instance_guid).toBe(before.get(instance.index));
        expect(instance.crash_count).toBeLessThanOrEqual(1);
      }
      await platform.muster("scale", "web", "-i", "3");
    },
  );

  it("a frozen cell's instances are replaced, and its own are gone once it is back", async () => {
    await platform.eventually("three run", async () => (await platform.app("web")).instances.length === 3, 30_000);
    const running = await platform.running("web");
    const rep = await platform.service("rep", running[0]?.cell_id);
    const lost = running.filter((instance) => instance.cell_id === rep.name);
    process.kill(rep.pid, "SIGSTOP");
    try {
      await platform.eventually(
        "replacements run elsewhere",
        async () => {
          const now = await platform.running("web");
          return now.length === 3 && now.every((instance) => instance.cell_id !== rep.name);
        },
        30_000,
      );
    } finally {
      process.kill(rep.pid, "SIGCONT");
    }
    await platform.eventually(
      "the old containers are gone",
      async () => (await Promise.all(lost.map((instance) => pidsOf(instance.instance_guid)))).flat().length === 0,
      30_000,
    );
    expect((await platform.app("web")).instances).toHaveLength(3);
  });

  it("says what is wrong with what cannot run", async () => {
    const missing = await platform.try("push", "missing", "--docker-image", `${registry.host}/check/nothing:v1`);
    expect(missing.status).toBe(3);
    expect(missing.stderr).toMatch(/nothing:v1/);
    const away = await platform.try("push", "away", "--docker-image", "127.0.0.1:1/check/app:v1");
    expect([3, 4]).toContain(away.status);
    const large = await platform.try("push", "large", "--docker-image", image, "-m", "900G", "-t", "3");
    expect(large.status).toBe(5);
    expect(large.stderr + large.stdout).toMatch(/insufficient resources/);
    const named = await platform.try("push", "no spaces please", "--docker-image", image);
    expect([2, 3]).toContain(named.status);
    const apps = await platform.json<{ name: string }[]>("apps");
    expect(apps.map((app) => app.name).filter((name) => ["missing", "away", "no spaces please"].includes(name))).toEqual([]);
    await platform.muster("delete", "large", "-f");
  });

  it("a third crash waits 30 s as CRASHED and then runs again", async () => {
    await platform.try(
      "push",
      "crasher",
      "--docker-image",
      image,
      "-c",
      "sleep 0.3; exit 7",
      "--health-check-type",
      "process",
      "--no-wait",
    );
    const first = async (): Promise<InstanceShape | undefined> => (await platform.app("crasher")).instances[0];
    await platform.eventually("the third crash is seen", async () => (await first())?.state === "CRASHED", 30_000);
    const crashed = await first();
    expect(crashed).toMatchObject({ crash_count: 3 });
    expect(crashed?.crash_reason).toMatch(/Exited with status 7/);
    await platform.eventually("it was started again", async () => ((await first())?.crash_count ?? 0) >= 4, 45_000);
    await platform.muster("delete", "crasher", "-f");
  });

  it("shows an instance's output", async () => {
    await platform.muster(
      "push",
      "talker",
      "--docker-image",
      image,
      "-c",
      "echo hello-log; sleep 1000",
      "--health-check-type",
      "process",
    );
    await platform.eventually(
      "the line is there",
      async () => (await platform.muster("logs", "talker", "--recent")).includes("hello-log"),
      10_000,
    );
    await platform.muster("delete", "talker", "-f");
  });

  it("stop, start and delete do what they say", async () => {
    await platform.muster("stop", "web");
    await platform.eventually("nothing runs", async () => (await platform.running("web")).length === 0, 30_000);
    expect(await platform.app("web")).toMatchObject({ requested_state: "STOPPED", instances_wanted: 3 });
    await platform.muster("start", "web");
    await platform.eventually("three run", async () => (await platform.running("web")).length === 3, 30_000);
    await platform.muster("delete", "web", "-f");
    expect((await platform.try("app", "web")).status).toBe(3);
  });
});

describe("a home folder", () => {
  it("keeps its apps over an orderly end and over a killed `up`, and belongs to one platform at a time", async () => {
    const registry = await startRegistry();
    const home = await mkdtemp(join(tmpdir(), "muster-home-"));
    try {
      const image = `${registry.host}/check/app:v1`;
      await pushImage(registry.host, {
        name: "check/app",
        tag: "v1",
        cmd: webCommand,
        exposedPorts: ["8080/tcp"],
        page: "hello-from-test",
      });
      await using platform = await Platform.start(["--insecure-registry", registry.host], home);
      await platform.muster("enable-feature-flag", "diego_docker");
      await platform.muster("push", "web", "--docker-image", image, "-i", "2");
      const processGuid = (await platform.app("web")).process_guid;

      const second = await platform.try("up", "--no-demo", "--port-offset", "0");
      expect(second.status).toBe(3);
      expect(second.stderr).toContain(home);

      await platform.interrupt();
      expect(await leftBehind(home, 2)).toEqual([]);
      await platform.up();
      await platform.eventually("the app is back", async () => (await platform.running("web")).length === 2, 40_000);
      expect((await platform.app("web")).process_guid).toBe(processGuid);

      const before = await platform.running("web");
      await platform.kill();
      for (const instance of before) expect(await fetchInstance(instance)).toContain("hello-from-test");
      await platform.up();
      await platform.eventually("both are adopted", async () => (await platform.running("web")).length === 2, 40_000);
      expect(guids(await platform.running("web"))).toEqual(guids(before));
    } finally {
      await registry.stop();
      await rm(home, { recursive: true, force: true });
    }
  });
});
