// Every action on real containers: what tasks and instances say, why they fail, what their results are, and how they are made to end.
// All cases of a table run at once.
import { randomBytes, X509Certificate } from "node:crypto";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { rootFSOfImage } from "@muster/garden/image-ref";
import { Action } from "@muster/proto/models/actions";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { leftovers } from "../support/garden.js";
import { pushImage } from "../support/images.js";
import { Platform } from "../support/platform.js";
import { startRegistry, type TestRegistry } from "../support/registry.js";
import { type LRPWish, shell, type TaskWish, Work } from "../support/work.js";

/** Known to this machine alone: no container may ever read it. */
const secret = randomBytes(12).toString("hex");
const scratch = mkdtempSync(join(tmpdir(), "muster-actions-"));
writeFileSync(join(scratch, "secret"), secret);

let registry: TestRegistry;
let platform: Platform;
let work: Work;
let files: Server;
let base = "";
let image = "";
const posted: string[] = [];
const asked: string[] = [];

const serial = (...actions: Action[]): Action => Action.fromPartial({ serialAction: { actions } });
const parallel = (...actions: Action[]): Action => Action.fromPartial({ parallelAction: { actions } });
const codependent = (...actions: Action[]): Action => Action.fromPartial({ codependentAction: { actions } });
const within = (timeoutMs: number, action: Action): Action =>
  Action.fromPartial({ timeoutAction: { action, timeoutMs: BigInt(timeoutMs) } });
const as = (logSource: string, script: string): Action => shell(script, { logSource });
const download = (path: string): Action =>
  Action.fromPartial({ downloadAction: { artifact: "tools", from: `${base}${path}`, to: "/in", user: "root" } });
const upload = (path: string): Action =>
  Action.fromPartial({ uploadAction: { artifact: "droplet", from: "/etc/passwd", to: `${base}${path}`, user: "root" } });
const progress = (action: Action): Action =>
  Action.fromPartial({
    emitProgressAction: {
      action,
      startMessage: "Working",
      successMessage: "Worked",
      failureMessagePrefix: "Did not work",
      logSource: "STG",
    },
  });

interface Case {
  readonly name: string;
  readonly task: () => TaskWish;
  /** Why it fails; left out: it succeeds. */
  readonly reason?: string | RegExp;
  readonly result?: string | RegExp;
  /** Lines that are there, in this order. */
  readonly lines?: readonly string[];
  readonly unsaid?: RegExp;
}

const told = "trap 'echo told > /result; exit 0' TERM; while :; do sleep 0.1; done";
/** A task that leaves its result to `script`, which is root's. */
const leaving =
  (script: string): (() => TaskWish) =>
  () => ({ resultFile: "/result", action: shell(script) });

const cases: readonly Case[] = [
  {
    name: "a process has its user, folder, arguments, variables, open files and bound files",
    task: () => ({
      resultFile: "/tmp/result",
      environmentVariables: [
        { name: "COLOR", value: "red" },
        { name: "SHAPE", value: "round" },
      ],
      volumeMountedFiles: [{ path: "db/user", content: "alice" }],
      action: Action.fromPartial({
        runAction: {
          path: "/bin/sh",
          args: [
            "-c",
            'echo "$(id -u):$(id -g) $PWD $1 $COLOR $SHAPE $(ulimit -n) $(cat /etc/cf-service-bindings/db/user)" > /tmp/result',
            "sh",
            "two words",
          ],
          dir: "/www",
          user: "web",
          env: [{ name: "COLOR", value: "blue" }],
          // The number of processes is no limit of the reference's: a shell may still fork.
          resourceLimits: { optionalNofile: { $case: "nofile", value: 77n }, optionalNproc: { $case: "nproc", value: 1n } },
          logSource: "TASK",
        },
      }),
    }),
    result: "1000:1000 /www two words blue round 77 alice\n",
  },
  {
    name: "lines have their action's source, and suppressed ones are not there",
    task: () => ({
      action: serial(
        shell("echo hidden", { suppressLogOutput: true }),
        as("ONE", "echo out; echo err >&2"),
        shell("printf rest"),
      ),
    }),
    lines: ["ONE OUT out", "ONE ERR err", "ONE OUT Exit status 0", "TASK OUT rest", "TASK OUT Exit status 0"],
    unsaid: /hidden/,
  },
  {
    name: "a program that is not there",
    task: () => ({ action: Action.fromPartial({ runAction: { path: "/no/such", user: "root", logSource: "TASK" } }) }),
    reason: /\/no\/such/,
    lines: [expect.stringMatching(/^TASK OUT failed-creating-process: .*\/no\/such/)],
  },
  {
    name: "a user that is not there",
    task: () => ({ action: shell("true", { user: "nobody-here" }) }),
    reason: /^unable to find user nobody-here/,
    lines: [expect.stringMatching(/^TASK OUT failed-creating-process: unable to find user nobody-here/)],
  },
  {
    name: "progress that ends well",
    task: () => ({ action: progress(shell("true")) }),
    lines: ["STG OUT Working", "TASK OUT Exit status 0", "STG OUT Worked"],
  },
  {
    name: "progress that ends badly",
    task: () => ({ action: progress(shell("exit 4")) }),
    reason: "TASK: Exited with status 4",
    lines: ["STG OUT Working", "TASK OUT Exit status 4", "STG ERR Did not work: TASK: Exited with status 4"],
    unsaid: /Worked/,
  },
  {
    name: "a time-out of what ends when it is told to",
    task: () => ({ resultFile: "/result", action: within(1_500, shell(told)) }),
    reason: "exceeded 1.5s timeout",
    result: "told\n",
  },
  {
    name: "a time-out of what ignores SIGTERM, and has children",
    task: () => ({ action: within(500, shell("trap '' TERM; sleep 1000 & while :; do sleep 1; done")) }),
    reason: "exceeded 500ms timeout",
  },
  {
    name: "what is in time",
    task: () => ({ action: within(60_000, shell("exit 0")) }),
  },
  {
    name: "a try that fails, and what comes after it",
    task: () => ({
      resultFile: "/result",
      action: serial(
        Action.fromPartial({ tryAction: { action: parallel(shell("exit 1"), within(200, shell(told))) } }),
        shell("echo after >> /result"),
      ),
    }),
    result: "told\nafter\n",
  },
  {
    name: "a failing member of a parallel action, beside which the others go on to their end",
    task: () => ({ resultFile: "/result", action: parallel(as("A", "exit 3"), as("B", "sleep 1; echo went on > /result")) }),
    reason: "A: Exited with status 3",
    result: "went on\n",
  },
  {
    name: "two failing members of a parallel action",
    task: () => ({ action: parallel(as("A", "sleep 0.5; exit 1"), as("B", "exit 2"), as("C", "true")) }),
    reason: "A: Exited with status 1; B: Exited with status 2",
  },
  {
    name: "a serial action, which stops at the first failure",
    task: () => ({ resultFile: "/result", action: serial(as("A", "echo 1 > /result; exit 5"), as("B", "echo 2 >> /result")) }),
    reason: "A: Exited with status 5",
    result: "1\n",
  },
  {
    name: "a codependent action one of whose members ends well",
    task: () => ({ resultFile: "/result", action: codependent(as("A", "sleep 0.5"), as("B", told)) }),
    reason: "Codependent step exited",
    result: "told\n",
  },
  {
    name: "a codependent action one of whose members fails",
    task: () => ({ resultFile: "/result", action: codependent(as("A", "sleep 0.5; exit 9"), as("B", told)) }),
    reason: "A: Exited with status 9",
    result: "told\n",
  },
  {
    name: "a download that is not there",
    task: () => ({ action: serial(download("/none?signature=hush"), shell("echo never")) }),
    reason: /^Downloading tools failed/,
    lines: ["TASK OUT Downloading tools...", expect.stringMatching(/^TASK ERR Downloading tools failed/)],
    unsaid: /never|hush/,
  },
  {
    name: "an upload that nobody takes",
    task: () => ({ action: upload("/refused?signature=hush") }),
    reason: "Failed to upload payload for droplet",
    lines: ["TASK OUT Uploading droplet...", "TASK ERR Failed to upload payload for droplet"],
    unsaid: /hush/,
  },
  {
    name: "a process that takes more memory than there is",
    task: () => ({ memoryMb: 32, action: shell("head -c 200000000 /dev/zero | tail") }),
    reason: "TASK: Exited with status 137 (out of memory)",
    lines: ["TASK OUT Exit status 137 (out of memory)"],
  },
  { name: "the largest result", task: leaving("head -c 51200 /dev/zero | tr '\\0' x > /result"), result: /^x{51200}$/ },
  {
    name: "a result that is too large",
    task: leaving("head -c 51201 /dev/zero | tr '\\0' x > /result"),
    reason: "result file is too large (over 51200 bytes)",
  },
  { name: "a result that is not there", task: leaving("true"), reason: "failed to fetch result" },
  {
    name: "a result that is a link to a file of the container",
    task: leaving("echo inside > /file; ln -s /file /result"),
    result: "inside\n",
  },
  {
    name: "a result that is a link out of the container",
    task: leaving(`ln -s ../../../../../../../..${scratch}/secret /result`),
    reason: "failed to fetch result",
  },
  {
    name: "a result that is a link to the cell's own root",
    task: leaving(`ln -s /proc/1/root${scratch}/secret /result`),
    reason: "failed to fetch result",
  },
  {
    name: "a result that is a link to the variables of whoever reads it",
    task: leaving("ln -s /proc/self/environ /result"),
    reason: "failed to fetch result",
  },
  {
    name: "a result that is a folder",
    task: leaving("mkdir /result; echo inside > /result/file"),
    reason: "failed to fetch result",
  },
  {
    name: "a result that is a pipe nobody writes to",
    task: leaving("busybox mkfifo /result"),
    reason: "failed to fetch result",
  },
  {
    name: "a result of a task that failed",
    task: leaving("echo why > /result; exit 6"),
    reason: "TASK: Exited with status 6",
    result: "why\n",
  },
  {
    name: "a line of a megabyte, which comes in pieces",
    task: () => ({ action: shell("head -c 1048576 /dev/zero | tr '\\0' x") }),
    // The first ones have made room for the last: a cell keeps a megabyte of an instance.
    lines: [...Array.from({ length: 16 }, () => `TASK OUT ${"x".repeat(61_440)}`), `TASK OUT ${"x".repeat(1_048_576 % 61_440)}`],
  },
  {
    name: "lines where none are allowed",
    task: () => ({ action: shell("echo never; echo never >&2"), logRateLimit: { bytesPerSecond: 0n } }),
    lines: [expect.stringMatching(/^TASK OUT Cell cell-1 successfully created container/)],
    unsaid: /never|Exit status/,
  },
  {
    name: "lines of whatever bytes, and one without an end",
    task: () => ({ action: shell("printf '\\377\\000\\001\\n\\n\\303\\244\\r\\nno end'") }),
    lines: ["TASK OUT \ufffd\0\u0001", "TASK OUT ä", "TASK OUT no end", "TASK OUT Exit status 0"],
  },
];

interface InstanceCase {
  readonly name: string;
  readonly lrp: LRPWish;
  readonly reason: string;
  readonly lines: readonly string[];
  readonly unsaid?: RegExp;
}

const toldAloud = "trap 'echo told; exit 0' TERM; while :; do sleep 0.1; done";
const sidecar = (script: string, memoryMb = 0) => ({ action: as("SIDE", script), memoryMb, diskMb: 0 });

const instances: readonly InstanceCase[] = [
  {
    name: "setup, then the action; a sidecar that fails ends it",
    lrp: {
      setup: as("SETUP", "mkdir /made; echo ready > /made/file"),
      action: as("APP", `cat /made/file; ${toldAloud}`),
      sidecars: [sidecar("sleep 1; exit 5")],
    },
    reason: "SIDE: Exited with status 5",
    lines: ["SETUP OUT Exit status 0", "APP OUT ready", "SIDE OUT Exit status 5", "APP OUT told", "APP OUT Exit status 0"],
  },
  {
    name: "a setup that fails",
    lrp: { setup: as("SETUP", "exit 4"), action: as("APP", "echo never; sleep 1000") },
    reason: "SETUP: Exited with status 4",
    lines: ["SETUP OUT Exit status 4"],
    unsaid: /never/,
  },
  {
    name: "a sidecar that takes more memory than the container has, whatever its own share was to be",
    lrp: {
      memoryMb: 48,
      action: as("APP", toldAloud),
      sidecars: [sidecar("sleep 1; head -c 200000000 /dev/zero | tail", 1)],
    },
    reason: "SIDE: Exited with status 137 (out of memory)",
    lines: ["SIDE OUT Exit status 137 (out of memory)", "APP OUT told"],
  },
  {
    name: "a sidecar that ends well",
    lrp: { action: as("APP", toldAloud), sidecars: [sidecar("sleep 1")] },
    reason: "Codependent step exited",
    lines: ["SIDE OUT Exit status 0", "APP OUT told"],
  },
];

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
    ...cases.map(({ task }, at) => work.desireTask(guidOf("task", at), task())),
    ...instances.map(({ lrp }, at) => work.desireLRP(guidOf("lrp", at), { logSource: "CELL", ...lrp })),
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
  it.each(cases.map((one, at) => ({ ...one, guid: guidOf("task", at) })))("$name", async (one) => {
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
  it.each(instances.map((one, at) => ({ ...one, guid: guidOf("lrp", at) })))("$name", async (one) => {
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
      early: serial(shell("trap 'exit 0' TERM; while :; do sleep 0.1; done"), upload("/late")),
      loading: serial(download("/silent"), shell("sleep 1000")),
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
      9_000,
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
    await work.desireTask("loud", { action: shell(`yes ${line} & trap "kill $!; echo; echo done; exit 0" TERM; wait`) });
    await platform.eventually("it prints", async () => (await work.lines("loud")).length > 100, 60_000);
    await work.desireTask("bystander", { action: shell("echo heard") });
    expect(await work.ended("bystander", 30_000)).toMatchObject({ failed: false });
    expect(await work.lines("bystander")).toContain("TASK OUT heard");
    expect((await work.task("loud"))?.state, "it prints still").toBe(2);
    await work.cancelTask("loud");
    await platform.eventually("its last word is heard", async () => (await work.lines("loud")).includes("TASK OUT done"), 30_000);
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
