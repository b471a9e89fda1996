// Supervision of real processes: small scripts that live, die, hang and look at their control pipe.
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { systemClock } from "@muster/shared/clock";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { type ChildEnd, type SupervisedChild, superviseChild } from "./child.js";
import { lastComplaint, readTail, rotateLogFile } from "./log-files.js";

let dir = "";
let children: SupervisedChild[] = [];
beforeEach(() => {
  dir = mkdtempSync(path.join(tmpdir(), "muster-child-"));
  children = [];
});
afterEach(async () => {
  await Promise.all(children.map((child) => child.stop(0)));
  rmSync(dir, { recursive: true, force: true });
});

const until = (holds: () => void): Promise<void> => vi.waitFor(holds, { timeout: 8_000, interval: 10 });
const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};

function supervise(script: string): { child: SupervisedChild; ends: ChildEnd[]; pids: number[]; logFile: string } {
  const logFile = path.join(dir, "child.log");
  const ends: ChildEnd[] = [];
  const pids: number[] = [];
  const spec = { name: "child", program: process.execPath, args: ["-e", script], logFile };
  const child = superviseChild(spec, { clock: systemClock, onEnd: (end) => ends.push(end), onStart: (pid) => pids.push(pid) });
  children.push(child);
  return { child, ends, pids, logFile };
}

const forever = "setInterval(() => {}, 1000);";

describe("a supervised process", () => {
  it("is started again after kill -9", async () => {
    const { child, ends, pids } = supervise(`console.log('up'); ${forever}`);
    const first = child.pid() as number;
    process.kill(first, "SIGKILL");
    await until(() => expect(pids).toHaveLength(2));
    expect(ends).toEqual([{ code: null, signal: "SIGKILL", ends: 1 }]);
    expect(child.pid()).toBe(pids[1]);
  });

  it("counts its ends, and its output is kept", async () => {
    const { ends, logFile } = supervise("console.log('hello'); console.error('trouble'); process.exit(7);");
    await until(() => expect(ends.length).toBeGreaterThanOrEqual(3));
    expect(ends.slice(0, 3)).toEqual([1, 2, 3].map((n) => ({ code: 7, signal: null, ends: n })));
    const log = readFileSync(logFile, "utf8");
    expect(log).toContain("hello");
    expect(log).toContain("trouble");
  });

  it("that cannot be started at all counts as one that ended", async () => {
    const ends: ChildEnd[] = [];
    const spec = { name: "none", program: path.join(dir, "none"), args: [], logFile: path.join(dir, "none.log") };
    const child = superviseChild(spec, { clock: systemClock, onEnd: (end) => ends.push(end), onStart: () => undefined });
    children.push(child);
    await until(() => expect(ends.length).toBeGreaterThanOrEqual(2));
  });

  it("is stopped in an orderly way and not started again", async () => {
    const { child, ends, logFile, pids } = supervise(
      `process.on('SIGTERM', () => { console.log('bye'); process.exit(0); }); console.log('up'); ${forever}`,
    );
    await until(() => expect(readTail(logFile)).toContain("up"));
    await child.stop(5_000);
    expect(readTail(logFile)).toContain("bye");
    expect(ends).toEqual([]);
    expect(child.pid()).toBeUndefined();
    expect(isAlive(pids[0] as number)).toBe(false);
  });

  it("that does not listen is killed after the grace", async () => {
    const { child, pids, logFile } = supervise(`process.on('SIGTERM', () => {}); console.log('up'); ${forever}`);
    await until(() => expect(readTail(logFile)).toContain("up"));
    await child.stop(50);
    expect(isAlive(pids[0] as number)).toBe(false);
  });

  it("may be stopped while it waits to be started again", async () => {
    const { child, ends, pids } = supervise("process.exit(1);");
    await until(() => expect(ends.length).toBeGreaterThanOrEqual(2));
    await child.stop(100);
    const started = pids.length;
    await new Promise((resolve) => setTimeout(resolve, 600));
    expect(pids).toHaveLength(started);
  });
});

describe("the control pipe", () => {
  /** A supervisor of its own process, so that it can be killed: it supervises one child that ends when its pipe closes. */
  const childScript =
    "new (require('node:net').Socket)({ fd: 3 }).on('close', () => process.exit(0)).resume(); setInterval(() => {}, 1000);";
  const supervisor = (pidFile: string): string => `
    const { spawn } = require('node:child_process');
    const child = spawn(process.execPath, ['-e', ${JSON.stringify(childScript)}], { detached: true, stdio: ['ignore', 'ignore', 'ignore', 'pipe'] });
    require('node:fs').writeFileSync(${JSON.stringify(pidFile)}, String(child.pid));
    setInterval(() => {}, 1000);`;

  it("ends the child when its supervisor is killed with -9", async () => {
    const pidFile = path.join(dir, "pid");
    const parent = spawn(process.execPath, ["-e", supervisor(pidFile)], { stdio: "ignore" });
    let pid = 0;
    await until(() => {
      pid = Number(readFileSync(pidFile, "utf8"));
      expect(pid).toBeGreaterThan(0);
    });
    expect(isAlive(pid)).toBe(true);
    parent.kill("SIGKILL");
    await once(parent, "exit");
    await until(() => expect(isAlive(pid)).toBe(false));
  });

  it("is named to the child, which sees it open", async () => {
    const { logFile } = supervise(
      `console.log(process.env.MUSTER_CONTROL_FD, require('node:fs').fstatSync(3).isSocket() || require('node:fs').fstatSync(3).isFIFO()); ${forever}`,
    );
    await until(() => expect(readTail(logFile)).toContain("3 true"));
  });

  it("does not leak into other processes of the supervisor", async () => {
    const openIn = (): Promise<string> =>
      new Promise((resolve) => {
        execFile("ls", ["/proc/self/fd"], (_, stdout) => resolve(stdout));
      });
    const before = await openIn();
    supervise(forever);
    expect(await openIn()).toBe(before);
  });
});

describe("log files", () => {
  it("are moved on when they are too long, two are kept, and a writer goes on in the cut file", async () => {
    const { logFile } = supervise("let n = 0; setInterval(() => { console.log('line ' + n++); }, 5);");
    for (let turn = 0; turn < 3; turn += 1) {
      await until(() => expect(rotateLogFile(logFile, 60)).toBe(true));
    }
    await until(() => expect(statSync(logFile).size).toBeGreaterThan(0));
    expect(statSync(`${logFile}.1`).size).toBeGreaterThanOrEqual(60);
    expect(statSync(`${logFile}.2`).size).toBeGreaterThanOrEqual(60);
    expect(() => statSync(`${logFile}.3`)).toThrow();
    // A hole of zeros would stand here if the child did not append.
    expect(readFileSync(logFile, "utf8")).not.toContain("\0");
  });

  it.each([
    [
      '{"level":30,"msg":"fine"}\n{"level":50,"msg":"service failed","err":{"message":"no ca"},"hint":"make one"}\n',
      "service failed: no ca (make one)",
    ],
    ['{"level":50,"msg":"service failed","err":{"message":"x"}}\n{"level":30,"msg":"bye"}\n', "service failed: x"],
    [
      "node:internal/x:1\n  throw err;\n\nError: Cannot find module 'y'\n    at z\n\nNode.js v20\n",
      "Error: Cannot find module 'y'",
    ],
    ["", "it wrote nothing"],
    ["just words\n", "just words"],
  ])("tell the last complaint of %j", (text, complaint) => {
    const file = path.join(dir, "x.log");
    writeFileSync(file, text);
    expect(lastComplaint(readTail(file))).toBe(complaint);
  });
});
