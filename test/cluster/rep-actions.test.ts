// Every action on real containers: what tasks and instances say, why they fail, what their results are, and how they are made to end.
// All cases of a table run at once.
import { randomBytes, X509Certificate } from "node:crypto";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { rootFSOfImage } from "@muster/garden/image-ref";
import type { Action } from "@muster/proto/models/actions";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { download, instanceCases, serial, taskCases, upload } from "../support/action-cases.js";
import { leftovers } from "../support/garden.js";
import { pushImage } from "../support/images.js";
import { Platform } from "../support/platform.js";
import { startRegistry, type TestRegistry } from "../support/registry.js";
import { shell, Work } from "../support/work.js";

/** Known to this machine alone: no container may ever read it. */
const secret = randomBytes(12).toString("hex");
const scratch = mkdtempSync(join(tmpdir(), "muster-actions-"));
const secretFile = join(scratch, "secret");
writeFileSync(secretFile, secret);

let registry: TestRegistry;
let platform: Platform;
let work: Work;
let files: Server;
let base = "";
let image = "";
const posted: string[] = [];
const asked: string[] = [];

const guidOf = (kind: string, at: number): string => `${kind}-${at}`;

beforeAll(async () => {
  registry = await startRegistry();
  image = await pushImage(registry.host, { name: "check/app", exposedPorts: [] });
  files = createServer((request, response) => {
    asked.push(request.url ?? "");
    request.resume();
    if (request.url === "/silent") return;
    if (request.method === "POST") posted.push(request.url ?? "");
    response.writeHead(request.url?.startsWith("/refused") ? 500 : 404).end();
  });
  await new Promise<void>((resolve) => files.listen(0, "127.0.0.1", resolve));
  base = `http://127.0.0.1:${(files.address() as AddressInfo).port}`;
  platform = await Platform.start(["--cells", "1", "--insecure-registry", registry.host]);
  await platform.muster("enable-feature-flag", "diego_docker");
  work = new Work(platform, rootFSOfImage(image));
  await Promise.all([
    ...taskCases.map(({ task }, at) => work.desireTask(guidOf("task", at), task({ base, secretFile }))),
    ...instanceCases.map(({ lrp }, at) => work.desireLRP(guidOf("lrp", at), { logSource: "CELL", ...lrp })),
  ]);
});

afterAll(async () => {
  try {
    work?.[Symbol.dispose]();
    await platform?.[Symbol.asyncDispose]();
  } finally {
    await registry.stop();
    files.closeAllConnections();
    await new Promise((resolve) => files.close(resolve));
    rmSync(scratch, { recursive: true, force: true });
  }
  if (platform !== undefined) expect(await leftovers(platform.home, "cell-1")).toEqual([]);
});

/** Those of `lines` that are wanted, in the order they have. */
function said(lines: readonly string[], wanted: readonly unknown[]): unknown[] {
  let from = 0;
  return wanted.map((one) => {
    const at = lines.findIndex((line, index) => index >= from && matches(line, one));
    from = at + 1;
    return at < 0 ? `missing among ${JSON.stringify(lines.map((line) => line.slice(0, 200)))}` : lines[at];
  });
}
const matches = (line: string, wanted: unknown): boolean =>
  typeof wanted === "string" ? line === wanted : (wanted as { asymmetricMatch(value: string): boolean }).asymmetricMatch(line);

describe("a task", () => {
  it.each(taskCases.map((one, at) => ({ ...one, guid: guidOf("task", at) })))("$name", async (one) => {
    const { guid, reason, result = "", lines = [], unsaid } = one;
    const task = await work.ended(guid);
    expect({ failed: task.failed, reason: task.failureReason }).toEqual({
      failed: reason !== undefined,
      reason: reason === undefined ? "" : typeof reason === "string" ? reason : expect.stringMatching(reason),
    });
    expect(task.result).toEqual(typeof result === "string" ? result : expect.stringMatching(result));
    const all = await work.lines(guid);
    expect(said(all, lines)).toEqual(lines);
    if (unsaid !== undefined) expect(all.join("\n")).not.toMatch(unsaid);
    expect(all.join("\n") + task.result).not.toContain(secret);
  });
});

describe("an instance", () => {
  it.each(instanceCases.map((one, at) => ({ ...one, guid: guidOf("lrp", at) })))("$name", async (one) => {
    const { guid, reason, lines, unsaid } = one;
    const { crashReason } = await work.row(guid, "it crashes", ({ crashCount }) => crashCount > 0);
    await work.removeLRP(guid);
    expect(crashReason).toBe(reason);
    const all = await work.lines(guid);
    expect(said(all, lines)).toEqual(lines);
    if (unsaid !== undefined) expect(all.join("\n")).not.toMatch(unsaid);
  });
});

describe("a task that is cancelled", () => {
  /** Processes of this machine whose environment has the mark. */
  const marked = (mark: string): number =>
    readdirSync("/proc").filter((pid) => {
      if (!/^\d+$/.test(pid)) return false;
      try {
        return readFileSync(`/proc/${pid}/environ`, "utf8").split("\0").includes(`MARK=${mark}`);
      } catch {
        return false;
      }
    }).length;
  const free = async (): Promise<boolean> =>
    (await platform.json<{ containers: { total: number; free: number } }[]>("cells")).every(
      ({ containers }) => containers.free === containers.total,
    );

  it("has ten seconds to end, with all it has started, wherever it is in its work", async () => {
    const mark = (name: string): string => `${name}-${secret}`;
    const wishes: Record<string, Action> = {
      stubborn: shell("trap '' TERM; sleep 1000 & sleep 1001 & while :; do sleep 1; done"),
      polite: shell("trap 'exit 0' TERM; sleep 1000 & while :; do sleep 0.1; done"),
      plain: shell("sleep 1000 & exec sleep 1001"),
      early: serial(shell("trap 'exit 0' TERM; while :; do sleep 0.1; done"), upload(base, "/late")),
      loading: serial(download(base, "/silent"), shell("sleep 1000")),
    };
    const names = Object.keys(wishes);
    for (const [name, action] of Object.entries(wishes))
      await work.desireTask(name, { action, environmentVariables: [{ name: "MARK", value: mark(name) }] });
    const running = names.filter((name) => name !== "loading");
    await platform.eventually(
      "all are in the middle of it",
      async () => running.every((name) => marked(mark(name)) > 1 || name === "early") && marked(mark("early")) > 0,
      60_000,
    );
    await platform.eventually("a download has begun", async () => asked.includes("/silent"), 60_000);
    const began = performance.now();
    await Promise.all(names.map((name) => work.cancelTask(name)));
    for (const name of names)
      expect(await work.task(name)).toMatchObject({ state: 3, failed: true, failureReason: "task was cancelled" });
    await platform.eventually(
      "those that listen have ended, and what they started",
      async () => running.every((name) => name === "stubborn" || marked(mark(name)) === 0),
      30_000,
    );
    const left = performance.now() - began;
    if (left < 9_000) expect(marked(mark("stubborn"))).toBeGreaterThan(0);
    await platform.eventually("the other has been ended", async () => marked(mark("stubborn")) === 0, 30_000);
    expect(performance.now() - began).toBeGreaterThan(9_900);
    expect(posted.filter((path) => path === "/late")).toEqual([]);
    await platform.eventually("no container is left", free, 20_000);
  });
});

describe("a task that prints as fast as it can", () => {
  it("is heard as much as it may, is told so, and slows nobody", async () => {
    const line = "x".repeat(99);
    const script = `timeout 4 yes ${line}; echo over`;
    await work.desireTask("limited", { action: shell(script), logRateLimit: { bytesPerSecond: 1_000n } });
    await work.desireTask("loud", { action: shell(`yes ${line}`) });
    await platform.eventually("it prints", async () => (await work.lines("loud")).length > 100, 120_000);
    await work.desireTask("bystander", { action: shell("echo heard") });
    expect(await work.ended("bystander", 30_000)).toMatchObject({ failed: false });
    expect(await work.lines("bystander")).toContain("TASK OUT heard");
    expect((await work.task("loud"))?.state, "it prints still").toBe(2);
    await work.cancelTask("loud");
    expect(await work.ended("limited")).toMatchObject({ failed: false });
    const limited = (await work.lines("limited")).filter((line) => line.startsWith("TASK"));
    const notices = limited.filter((line) => line === "TASK OUT app instance exceeded log rate limit (1000 bytes/sec)");
    expect(notices.length).toBeGreaterThan(1);
    expect(notices.length).toBeLessThan(8);
    // A second's worth to begin with and for each second after it.
    expect(limited.filter((line) => line.includes("xxx")).length).toBeLessThanOrEqual(70);
  });
});

describe("a pushed app and its tasks", () => {
  const certificate = `for name in "$CF_INSTANCE_CERT" "$CF_INSTANCE_KEY" "$CF_SYSTEM_CERT_PATH"; do echo "at $name"; done;
    test -s "$CF_INSTANCE_CERT" && test -s "$CF_INSTANCE_KEY" && ls "$CF_SYSTEM_CERT_PATH"; cat "$CF_INSTANCE_CERT"`;

  it("have an identity at Diego's paths, and a task's lines are followed until it is over", async () => {
    await platform.muster(
      "push",
      "who",
      "--docker-image",
      image,
      "-c",
      "sleep 1000",
      "--health-check-type",
      "process",
      "-m",
      "32M",
    );
    const { process_guid: processGuid } = await platform.app("who");
    const script = `${certificate}; for n in 1 2 3 4 5; do echo "line $n"; sleep 0.3; done; printf last; exit 3`;
    await platform.muster("run-task", "who", "--command", script, "--name", "look");
    const followed = await platform.muster("logs", "who", "--task", "look", "--json");
    const lines = followed
      .trim()
      .split("\n")
      .map((line) => (JSON.parse(line) as { source: string; line: string }).line);
    expect(lines).toEqual(
      expect.arrayContaining([
        "at /etc/cf-instance-credentials/instance.crt",
        "at /etc/cf-instance-credentials/instance.key",
        "at /etc/cf-system-certificates",
      ]),
    );
    const ours = lines.filter((line) => /^(line \d|last|Exit status)/.test(line));
    expect(ours).toEqual(["line 1", "line 2", "line 3", "line 4", "line 5", "last", "Exit status 3"]);
    const [pem = ""] = /-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/.exec(lines.join("\n")) ?? [];
    expect(new X509Certificate(pem).subject).toMatch(new RegExp(`^OU=app:${processGuid.slice(0, 36)}\nCN=`));
    const [{ task_guid: guid } = { task_guid: "none" }] = await platform.json<{ task_guid: string }[]>("tasks", "who");
    const recent = await platform.muster("logs", guid, "--recent");
    expect(recent).toMatch(/\[APP\/TASK\/look\/0\] OUT line 1\n/);
    const nobody = await platform.try("logs", "nobody");
    expect([nobody.status, nobody.stderr]).toEqual([3, expect.stringContaining("neither an app nor a task nobody")]);
  });
});
