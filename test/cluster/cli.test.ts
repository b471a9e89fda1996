// The command line against a user's platform with real containers: tasks, events, watch, explain, evacuation, convergence. Exit codes and
// JSON are what scripts see.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { leftovers } from "../support/garden.js";
import { pushImage, webCommand } from "../support/images.js";
import { Platform } from "../support/platform.js";
import { startRegistry, type TestRegistry } from "../support/registry.js";

const cli = fileURLToPath(new URL("../../packages/cli/dist/main.js", import.meta.url));

interface TaskShape {
  readonly task_guid: string;
  readonly name: string;
  readonly state: string;
  readonly failed: boolean;
  readonly failure_reason: string;
  readonly result: string;
}

interface WatchLine {
  readonly event: string;
  readonly revision?: string;
  readonly token?: string;
  readonly key?: string;
  readonly record?: { readonly state?: string };
}

interface EventShape {
  readonly event: string;
  readonly index: number;
  readonly cell_id: string;
  readonly exit_status: number | null;
  readonly task_guid: string;
  readonly last_lines: readonly string[];
}

interface Explanation {
  readonly instances: readonly { readonly why: string; readonly what_to_do: string; readonly next_try_at: string }[];
}

/** Follows `watch` until a line fits, then ends it as a user does. */
async function watchUntil(platform: Platform, args: readonly string[], fits: (line: WatchLine) => boolean): Promise<WatchLine[]> {
  const child = spawn(process.execPath, [cli, "watch", ...args, "--json", "--home", platform.home], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const exited = once(child, "exit");
  const lines: WatchLine[] = [];
  try {
    for await (const text of createInterface({ input: child.stdout })) {
      const line = JSON.parse(text) as WatchLine;
      lines.push(line);
      if (fits(line)) return lines;
    }
    throw new Error(`the watch ended after ${JSON.stringify(lines)}`);
  } finally {
    child.kill("SIGINT");
    await exited;
  }
}

describe("the command line", () => {
  let registry: TestRegistry;
  let platform: Platform;
  let image: string;

  beforeAll(async () => {
    registry = await startRegistry();
    image = await pushImage(registry.host, { name: "check/app", cmd: webCommand, exposedPorts: ["8080/tcp"] });
    platform = await Platform.start(["--cells", "2", "--insecure-registry", registry.host]);
    await platform.muster("enable-feature-flag", "diego_docker");
    await platform.muster("push", "web", "--docker-image", image, "-m", "64M", "-k", "64M", "--env", "COLOR=blue");
  });

  afterAll(async () => {
    try {
      // Undefined when it never came up.
      await platform?.[Symbol.asyncDispose]();
    } finally {
      await registry.stop();
    }
    if (platform === undefined) return;
    expect([...(await leftovers(platform.home, "cell-1")), ...(await leftovers(platform.home, "cell-2"))]).toEqual([]);
  });

  const tasks = (): Promise<TaskShape[]> => platform.json<TaskShape[]>("tasks", "web");

  it("runs a task with the app's variables and hands back its result", async () => {
    const command = 'echo "$COLOR in $PWD, port <$PORT>" > /tmp/result';
    const args = ["run-task", "web", "--command", command, "--name", "paint", "--result-file", "/tmp/result", "--wait"];
    const done = await platform.json<TaskShape>(...args);
    expect(done).toMatchObject({ name: "paint", state: "COMPLETED", failed: false, result: "blue in /, port <>\n" });
    expect(await tasks()).toEqual([done]);
  });

  it("a task that fails says why, with its last words, and is no success", async () => {
    const failed = await platform.try("run-task", "web", "--command", "echo oh no; exit 3", "--name", "bad", "--wait", "--json");
    expect(failed.status).toBe(1);
    expect(JSON.parse(failed.stdout)).toMatchObject({ failed: true, failure_reason: "APP/TASK/bad: Exited with status 3" });
    expect(failed.stderr).toContain("oh no");
    const [newest] = await platform.json<EventShape[]>("events", "web", "--limit", "1");
    expect(newest).toMatchObject({ event: "task-failed", exit_status: 3, last_lines: ["oh no", "Exit status 3"] });
  });

  it("a task outlives a wait in vain, and is terminated", async () => {
    const vain = await platform.try("run-task", "web", "--command", "sleep 1000", "--name", "long", "--wait", "-t", "1");
    expect(vain.status).toBe(5);
    expect((await tasks())[0]).toMatchObject({ name: "long", state: "RUNNING" });
    await platform.muster("terminate-task", "web", "long");
    expect((await tasks())[0]).toMatchObject({ state: "COMPLETED", failed: true, failure_reason: "task was cancelled" });
    expect((await platform.try("terminate-task", "web", "long")).status).toBe(3);
    const all = await platform.json<(TaskShape & { domain: string })[]>("all-tasks");
    expect(all.map(({ name, domain }) => `${domain}/${name}`)).toEqual(
      ["long", "bad", "paint"].map((name) => `muster-apps/${name}`),
    );
  });

  it("a watch goes on after its token, and misses nothing in between", async () => {
    const first = await watchUntil(platform, ["actual-lrps"], ({ event }) => event === "synced");
    expect(first.map(({ event }) => event)).toEqual(["record", "synced"]);
    const token = first.at(-1)?.token ?? "";
    await platform.muster("scale", "web", "-i", "2");
    const runs = ({ key, record }: WatchLine): boolean => key?.endsWith("/1/ORDINARY") === true && record?.state === "RUNNING";
    const lines = await watchUntil(platform, ["actual-lrps", "--after", token], runs);
    const states = lines
      .filter(({ key }) => key?.endsWith("/1/ORDINARY"))
      .map(({ event, record }) => `${event} ${record?.state}`);
    expect(states).toEqual(["put UNCLAIMED", "put CLAIMED", "put RUNNING"]);
    const revisions = lines.map(({ revision }) => Number(revision));
    expect(revisions).toEqual([...revisions].sort((a, b) => a - b));
  });

  it("explains work that is too large for any cell", async () => {
    await platform.muster("push", "big", "--docker-image", image, "-m", "900G", "--no-wait");
    await platform.eventually(
      "the auctioneer has judged it",
      async () => {
        const [instance] = (await platform.json<Explanation>("explain", "big")).instances;
        return instance?.why.includes("the largest cell that could take it") === true && instance.what_to_do.includes("-m SIZE");
      },
      20_000,
    );
    await platform.muster("delete", "big", "-f");
  });

  it("explains an image that is missing, with the registry's words and the time of the next try", async () => {
    const gone = await pushImage(registry.host, { name: "check/gone", cmd: webCommand, page: "gone" });
    await platform.muster("push", "gone", "--docker-image", gone, "-m", "64M", "-k", "64M", "--no-start");
    const { docker_digest: digest } = await platform.json<{ docker_digest: string }>("app", "gone");
    const deleted = await fetch(`http://${registry.host}/v2/check/gone/manifests/${digest}`, { method: "DELETE" });
    expect(deleted.status).toBe(202);
    expect((await platform.try("start", "gone")).status).toBe(5);
    const [instance] = (await platform.json<Explanation>("explain", "gone/0")).instances;
    expect(instance?.why).toContain("there is no image");
    expect(instance?.what_to_do).toContain("muster push gone --docker-image REF");
    expect(Date.parse(instance?.next_try_at ?? "")).toBeGreaterThan(0);
    const crashes = (await platform.json<EventShape[]>("events", "gone")).filter(({ event }) => event === "crashed");
    expect(crashes.length).toBeGreaterThanOrEqual(3);
    await platform.muster("delete", "gone", "-f");
  });

  it("empties a cell, tells how it went, and takes it back", async () => {
    const before = await platform.running("web");
    const cell = before[0]?.cell_id ?? "";
    const emptied = await platform.json<{ complete: boolean; remaining: unknown[] }>("evacuate", cell, "--wait");
    expect(emptied).toMatchObject({ complete: true, remaining: [] });
    const after = await platform.running("web");
    expect(after).toHaveLength(2);
    expect(after.map((instance) => instance.cell_id)).not.toContain(cell);
    const state = async (): Promise<string> => (await platform.json<{ state: string }>("cell", cell)).state;
    expect(await state()).toBe("evacuating");
    const events = await platform.json<EventShape[]>("events", "web");
    expect(events).toContainEqual(expect.objectContaining({ event: "evacuating", cell_id: cell, index: before[0]?.index }));
    expect(await platform.json("evacuate", cell, "--cancel")).toMatchObject({ evacuating: false });
    await platform.eventually("the cell takes work again", async () => (await state()) === "healthy", 20_000);
  });

  it("prints a cycle's repairs and carries them out only when told", async () => {
    // A converger that does its work leaves nothing to print.
    const converger = await platform.service("converger");
    process.kill(converger.pid, "SIGSTOP");
    try {
      await platform.muster("disable-feature-flag", "diego_docker");
      type Cycle = { readonly repairs: readonly { rule: string; key: string; why: string; outcome: string }[] };
      // Finished tasks may be due to go by now, too.
      const surplus = ({ repairs }: Cycle) => repairs.filter(({ rule }) => rule === "surplus");
      const planned = surplus(await platform.json<Cycle>("converge", "--dry-run"));
      expect(planned.map(({ outcome }) => outcome)).toEqual(["planned", "planned"]);
      expect(planned[0]?.key).toMatch(/\/0\/ORDINARY$/);
      expect(await platform.running("web")).toHaveLength(2);
      const [first] = (await platform.json<Explanation>("explain", "web/0")).instances;
      expect(first).toMatchObject({ what_to_do: expect.stringContaining("enable-feature-flag diego_docker") });
      const done = surplus(await platform.json<Cycle>("converge"));
      expect(done.map(({ outcome }) => outcome)).toEqual(["done", "done"]);
    } finally {
      process.kill(converger.pid, "SIGCONT");
    }
    await platform.eventually("nothing runs", async () => (await platform.app("web")).instances.length === 0, 30_000);
  });
});
