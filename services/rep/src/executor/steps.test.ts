// The step tree: what each action makes of success, failure and cancelling.
import type { GardenProcess, OutputSink, ProcessExit } from "@muster/garden";
import { Action } from "@muster/proto/models/actions";
import { fakeClock } from "@muster/shared/clock";
import { describe, expect, it } from "vitest";
import { action } from "../testing/world.js";
import { type StepResult, startStep } from "./steps.js";

const none = Action.decode(new Uint8Array(0));
const serial = (...actions: Action[]): Action => ({ ...none, serialAction: { actions, logSource: "" } });
const parallel = (...actions: Action[]): Action => ({ ...none, parallelAction: { actions, logSource: "" } });
const codependent = (...actions: Action[]): Action => ({ ...none, codependentAction: { actions, logSource: "" } });
const run = (path: string): Action => action({ path, logSource: path.slice(1).toUpperCase() });

interface FakeProcess extends GardenProcess {
  readonly signals: string[];
  end(exit?: Partial<ProcessExit>): void;
  print(text: string): void;
}

/** A host whose processes end when told; `stubborn` ones take no notice of SIGTERM. */
function world(stubborn: readonly string[] = []) {
  const clock = fakeClock();
  const processes = new Map<string, FakeProcess>();
  const started: string[] = [];
  const lines: string[] = [];
  let exceeded = 0;
  const fail = new Map<string, Error>();
  let transfer: (signal: AbortSignal) => Promise<number | undefined> = async () => undefined;
  const transfers = (next: typeof transfer): void => {
    transfer = next;
  };
  const before = new Map<string, "done" | "unknown">();
  const done: string[] = [];
  const host = {
    clock,
    gracefulMs: 10_000,
    startProcess: async (id: string, spec: { readonly path: string }, sink: OutputSink): Promise<GardenProcess> => {
      const failure = fail.get(spec.path);
      if (failure !== undefined) throw failure;
      started.push(`${id} ${spec.path}`);
      let settle: (exit: ProcessExit) => void = () => undefined;
      const signals: string[] = [];
      const exited = new Promise<ProcessExit>((resolve) => {
        settle = resolve;
      });
      const end = (exit: Partial<ProcessExit> = {}): void =>
        settle({ exitStatus: 0, signal: undefined, outOfMemory: false, ...exit });
      const process: FakeProcess = {
        id,
        exited,
        signals,
        end,
        print: (text) => sink("stdout", Buffer.from(text), 5),
        signal: async (name) => {
          signals.push(name);
          if (name === "SIGKILL" || !stubborn.includes(spec.path)) end({ exitStatus: name === "SIGKILL" ? 137 : 143 });
        },
      };
      processes.set(spec.path, process);
      return process;
    },
    log: (source: string, stream: string, line: Uint8Array) => lines.push(`${source} ${stream} ${Buffer.from(line)}`),
    exceededGraceful: () => {
      exceeded += 1;
    },
    download: async (_action: unknown, signal: AbortSignal) => transfer(signal),
    upload: async (_action: unknown, signal: AbortSignal) => (await transfer(signal)) ?? 0,
    before: (id: string) => before.get(id),
    markDone: (id: string) => void done.push(id),
  };
  const start = (tree: Action) => {
    const step = startStep(tree, { host, id: "app", source: "CELL" });
    const seen: { ready: boolean; result: StepResult | undefined } = { ready: false, result: undefined };
    void step.ready.then(() => {
      seen.ready = true;
    });
    void step.done.then((result) => {
      seen.result = result;
    });
    return { step, seen };
  };
  const process = (path: string): FakeProcess => {
    const found = processes.get(path);
    if (found === undefined) throw new Error(`${path} was not started`);
    return found;
  };
  return { clock, start, process, started, lines, fail, transfers, before, done, exceeded: () => exceeded };
}

describe("a run step", () => {
  it("is ready once its process exists, gives its lines, and tells its exit", async () => {
    const { clock, start, process, lines } = world();
    const { seen } = start(run("/app"));
    await clock.advance(0);
    expect(seen).toEqual({ ready: true, result: undefined });
    process("/app").print("hello\nrest");
    process("/app").end({ exitStatus: 2 });
    await clock.advance(0);
    expect(seen.result).toEqual({ ok: false, text: "APP: Exited with status 2" });
    expect(lines).toEqual(["APP stdout hello", "APP stdout rest", "APP stdout Exit status 2"]);
  });

  it("says nothing when its output is suppressed", async () => {
    const { clock, start, process, lines } = world();
    start(action({ path: "/app", suppressLogOutput: true }));
    await clock.advance(0);
    process("/app").print("secret\n");
    process("/app").end();
    await clock.advance(0);
    expect(lines).toEqual([]);
  });

  it("that cannot be started fails with the garden's words", async () => {
    const { clock, start, fail, lines } = world();
    fail.set("/app", new Error("no such file"));
    const { seen } = start(run("/app"));
    await clock.advance(0);
    expect(seen).toEqual({ ready: false, result: { ok: false, text: "no such file" } });
    expect(lines).toEqual(["APP stdout failed-creating-process: no such file"]);
  });

  it("is asked to end with SIGTERM", async () => {
    const { clock, start, process, exceeded } = world();
    const { step, seen } = start(run("/app"));
    await clock.advance(0);
    step.stop();
    step.stop();
    await clock.advance(0);
    expect(process("/app").signals).toEqual(["SIGTERM"]);
    expect(seen.result).toMatchObject({ ok: false, text: "cancelled", quiet: true });
    expect(exceeded()).toBe(0);
  });

  it("is killed when the graceful interval is over, and given up a second later", async () => {
    const { clock, start, process, lines, exceeded } = world(["/app"]);
    const { step, seen } = start(run("/app"));
    await clock.advance(0);
    step.stop();
    await clock.advance(9_999);
    expect(seen.result).toBeUndefined();
    await clock.advance(1);
    expect(process("/app").signals).toEqual(["SIGTERM", "SIGKILL"]);
    expect(seen.result).toMatchObject({ text: "exceeded graceful shutdown interval" });
    expect(lines).toEqual(["APP stdout Exit status 137 (exceeded 10s graceful shutdown interval)"]);
    expect(exceeded()).toBe(1);
  });

  it("does not wait for ever for a process that even SIGKILL does not end", async () => {
    const { clock, start, process } = world();
    const { step, seen } = start(run("/app"));
    await clock.advance(0);
    process("/app").signal = async () => undefined;
    step.stop();
    await clock.advance(10_999);
    expect(seen.result).toBeUndefined();
    await clock.advance(1);
    expect(seen.result).toMatchObject({ ok: false, text: "process did not exit" });
  });

  it("stopped before its process exists ends it as soon as it does", async () => {
    const { clock, start, process } = world();
    const { step, seen } = start(run("/app"));
    step.stop();
    await clock.advance(0);
    expect(process("/app").signals).toEqual(["SIGTERM"]);
    expect(seen.result).toMatchObject({ ok: false, quiet: true });
  });
});

describe("groups", () => {
  it("serial runs one after another and is ready with the last", async () => {
    const { clock, start, process, started } = world();
    const { seen } = start(serial(run("/a"), run("/b")));
    await clock.advance(0);
    expect(started).toEqual(["app.0 /a"]);
    expect(seen.ready).toBe(false);
    process("/a").end();
    await clock.advance(0);
    expect(started).toEqual(["app.0 /a", "app.1 /b"]);
    expect(seen.ready).toBe(true);
    process("/b").end();
    await clock.advance(0);
    expect(seen.result?.ok).toBe(true);
  });

  it("serial stops at the first failure", async () => {
    const { clock, start, process, started } = world();
    const { seen } = start(serial(run("/a"), run("/b")));
    await clock.advance(0);
    process("/a").end({ exitStatus: 1 });
    await clock.advance(0);
    expect(started).toEqual(["app.0 /a"]);
    expect(seen.result).toEqual({ ok: false, text: "A: Exited with status 1" });
  });

  it("parallel waits for all and joins their failures", async () => {
    const { clock, start, process } = world();
    const { seen } = start(parallel(run("/a"), run("/b"), run("/c")));
    await clock.advance(0);
    process("/a").end({ exitStatus: 1 });
    process("/b").end();
    await clock.advance(0);
    expect(seen.result).toBeUndefined();
    process("/c").end({ exitStatus: 3 });
    await clock.advance(0);
    expect(seen.result).toEqual({ ok: false, text: "A: Exited with status 1; C: Exited with status 3" });
  });

  it("codependent ends all with the first, and calls a clean end an error", async () => {
    const { clock, start, process } = world();
    const { seen } = start(codependent(run("/a"), run("/b")));
    await clock.advance(0);
    process("/a").end();
    await clock.advance(0);
    expect(process("/b").signals).toEqual(["SIGTERM"]);
    expect(seen.result).toEqual({ ok: false, text: "Codependent step exited" });
  });

  it("codependent tells what ended loudly in the order of the ends, and also of a process that no signal ends", async () => {
    const { clock, start, process } = world();
    const { seen } = start(codependent(run("/a"), run("/b"), serial(run("/c"))));
    await clock.advance(0);
    process("/a").signal = async () => undefined;
    process("/c").end({ exitStatus: 3 });
    await clock.advance(11_000);
    expect(seen.result).toEqual({ ok: false, text: "C: Exited with status 3; process did not exit" });
  });

  it("a stop reaches every member", async () => {
    const { clock, start, process } = world();
    const { step, seen } = start(codependent(run("/a"), serial(run("/b"))));
    await clock.advance(0);
    step.stop();
    await clock.advance(0);
    expect([process("/a").signals, process("/b").signals]).toEqual([["SIGTERM"], ["SIGTERM"]]);
    expect(seen.result).toMatchObject({ ok: false, quiet: true });
  });
});

describe("wrappers", () => {
  it("timeout ends its action and says so", async () => {
    const { clock, start, process } = world();
    const { seen } = start({
      ...none,
      timeoutAction: { action: run("/a"), timeoutMs: 10_000n, deprecatedTimeoutNs: 0n, logSource: "" },
    });
    await clock.advance(9_999);
    expect(process("/a").signals).toEqual([]);
    await clock.advance(1);
    expect(seen.result).toEqual({ ok: false, text: "exceeded 10s timeout" });
  });

  it("timeout says no more of a process that no signal ends", async () => {
    const { clock, start, process } = world();
    const { seen } = start({
      ...none,
      timeoutAction: { action: run("/a"), timeoutMs: 10_000n, deprecatedTimeoutNs: 0n, logSource: "" },
    });
    await clock.advance(0);
    process("/a").signal = async () => undefined;
    await clock.advance(21_000);
    expect(seen.result).toEqual({ ok: false, text: "exceeded 10s timeout" });
  });

  it("timeout leaves an action alone that ends in time", async () => {
    const { clock, start, process } = world();
    const { seen } = start({
      ...none,
      timeoutAction: { action: run("/a"), timeoutMs: 10_000n, deprecatedTimeoutNs: 0n, logSource: "" },
    });
    await clock.advance(0);
    process("/a").end();
    await clock.advance(20_000);
    expect(seen.result?.ok).toBe(true);
    expect(process("/a").signals).toEqual([]);
  });

  it("try always succeeds", async () => {
    const { clock, start, process } = world();
    const { seen } = start({ ...none, tryAction: { action: run("/a"), logSource: "" } });
    await clock.advance(0);
    process("/a").end({ exitStatus: 1 });
    await clock.advance(0);
    expect(seen.result).toEqual({ ok: true });
  });

  it("emit_progress tells how it goes and changes nothing", async () => {
    const { clock, start, process, lines } = world();
    const progress = (): Action => ({
      ...none,
      emitProgressAction: {
        action: action({ path: "/a", logSource: "A", suppressLogOutput: true }),
        startMessage: "Starting",
        successMessage: "Done",
        failureMessagePrefix: "Failed",
        logSource: "STG",
      },
    });
    const first = start(progress());
    await clock.advance(0);
    process("/a").end();
    await clock.advance(0);
    const second = start(progress());
    await clock.advance(0);
    process("/a").end({ exitStatus: 4 });
    await clock.advance(0);
    expect(lines).toEqual([
      "STG stdout Starting",
      "STG stdout Done",
      "STG stdout Starting",
      "STG stderr Failed: A: Exited with status 4",
    ]);
    expect([first.seen.result?.ok, second.seen.result?.ok]).toEqual([true, false]);
  });

  it("an action that is none fails at once", async () => {
    const { clock, start } = world();
    const { seen } = start(none);
    await clock.advance(0);
    expect(seen).toEqual({ ready: false, result: { ok: false, text: "container cannot have empty action" } });
  });
});

describe("a transfer", () => {
  const download = (artifact: string): Action => ({
    ...none,
    downloadAction: {
      artifact,
      from: "http://a/b",
      to: "/c",
      cacheKey: "",
      logSource: "STG",
      user: "root",
      checksumAlgorithm: "",
      checksumValue: "",
    },
  });
  const upload: Action = {
    ...none,
    uploadAction: { artifact: "droplet", from: "/a", to: "http://a/b", logSource: "", user: "root" },
  };

  it("says what it fetched and how much of it, the cache's own without a size", async () => {
    const { clock, start, transfers, lines, done } = world();
    transfers(async () => 12 * 1_048_576 + 524_288);
    const first = start(download("app"));
    await clock.advance(0);
    transfers(async () => undefined);
    start(download("app"));
    start(download(""));
    transfers(async () => 900);
    start(upload);
    await clock.advance(0);
    expect(first.seen).toEqual({ ready: true, result: { ok: true } });
    expect(lines.slice(0, 2)).toEqual(["STG stdout Downloading app...", "STG stdout Downloaded app (12.5M)"]);
    expect(lines.slice(2).toSorted()).toEqual([
      "CELL stdout Uploaded droplet (900B)",
      "CELL stdout Uploading droplet...",
      "STG stdout Downloaded app",
      "STG stdout Downloading app...",
    ]);
    expect(done).toHaveLength(4);
  });

  it("that fails says so, cut to what the app may see", async () => {
    const { clock, start, transfers, lines } = world();
    const text = `Copying into the container failed: ${"x".repeat(2_000)}`;
    transfers(() => Promise.reject(new Error(text)));
    const { seen } = start(serial(download(""), run("/app")));
    await clock.advance(0);
    expect(seen.result).toEqual({ ok: false, text });
    expect(lines).toHaveLength(1);
    expect(Buffer.byteLength(lines[0] ?? "")).toBe("STG stderr ".length + 1_024);
    expect(lines[0]).toMatch(/x \(error truncated\)$/);
  });

  it("ends at once when it is told to stop, without a word", async () => {
    const { clock, start, transfers, lines } = world();
    transfers((signal) => new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason))));
    const { step, seen } = start(upload);
    await clock.advance(0);
    step.stop();
    await clock.advance(0);
    expect(seen.result).toEqual({ ok: false, text: "cancelled", quiet: true });
    expect(lines).toEqual(["CELL stdout Uploading droplet..."]);
  });

  it("is not carried out again by the next rep", async () => {
    const { clock, start, transfers, before, started } = world();
    transfers(() => Promise.reject(new Error("asked again")));
    before.set("app.0", "done");
    before.set("app", "unknown");
    const tree = start(serial(download("app"), run("/app")));
    const alone = start(download("app"));
    await clock.advance(0);
    expect(started).toEqual(["app.1 /app"]);
    expect(tree.seen.result).toBeUndefined();
    expect(alone.seen.result).toEqual({ ok: false, text: "the cell was restarted before the step had ended" });
  });
});
