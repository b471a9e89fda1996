// What actions do, case by case: tasks and instances, why they fail, what their results are and what they say. Carried out by
// rep-actions.test.ts, all at once.
import { Action } from "@muster/proto/models/actions";
import { expect } from "vitest";
import { type LRPWish, shell, type TaskWish } from "./work.js";

/** What a case needs of the machine it runs on. */
export interface CaseWorld {
  /** Of a web server that has nothing and takes nothing below `/refused`. */
  readonly base: string;
  /** A file of this machine that no container may ever read. */
  readonly secretFile: string;
}

export const serial = (...actions: Action[]): Action => Action.fromPartial({ serialAction: { actions } });
const parallel = (...actions: Action[]): Action => Action.fromPartial({ parallelAction: { actions } });
const codependent = (...actions: Action[]): Action => Action.fromPartial({ codependentAction: { actions } });
const within = (timeoutMs: number, action: Action): Action =>
  Action.fromPartial({ timeoutAction: { action, timeoutMs: BigInt(timeoutMs) } });
const as = (logSource: string, script: string): Action => shell(script, { logSource });
export const download = (base: string, path: string): Action =>
  Action.fromPartial({ downloadAction: { artifact: "tools", from: `${base}${path}`, to: "/in", user: "root" } });
export const upload = (base: string, path: string): Action =>
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

export interface Case {
  readonly name: string;
  readonly task: (world: CaseWorld) => TaskWish;
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
  (script: string | ((world: CaseWorld) => string)) =>
  (world: CaseWorld): TaskWish => ({
    resultFile: "/result",
    action: shell(typeof script === "string" ? script : script(world)),
  });

export const taskCases: readonly Case[] = [
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
    task: ({ base }) => ({ action: serial(download(base, "/none?signature=hush"), shell("echo never")) }),
    reason: /^Downloading tools failed/,
    lines: ["TASK OUT Downloading tools...", expect.stringMatching(/^TASK ERR Downloading tools failed/)],
    unsaid: /never|hush/,
  },
  {
    name: "an upload that nobody takes",
    task: ({ base }) => ({ action: upload(base, "/refused?signature=hush") }),
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
    task: leaving(({ secretFile }) => `ln -s ../../../../../../../..${secretFile} /result`),
    reason: "failed to fetch result",
  },
  {
    name: "a result that is a link to the cell's own root",
    task: leaving(({ secretFile }) => `ln -s /proc/1/root${secretFile} /result`),
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

export interface InstanceCase {
  readonly name: string;
  readonly lrp: LRPWish;
  readonly reason: string;
  readonly lines: readonly string[];
  readonly unsaid?: RegExp;
}

const toldAloud = "trap 'echo told; exit 0' TERM; while :; do sleep 0.1; done";
const sidecar = (script: string, memoryMb = 0) => ({ action: as("SIDE", script), memoryMb, diskMb: 0 });

export const instanceCases: readonly InstanceCase[] = [
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
