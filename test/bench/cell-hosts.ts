// The processes that hold a fleet's cells, as their parent sees them.
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync, readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { quickTlsOf } from "../support/bbs.js";
import type { CellFacts, HostAnswer, HostFacts, HostQuestion } from "./cell-host.js";
import { cellIdOf } from "./messages.js";

export interface CellHostsOptions extends Omit<HostFacts, "cells" | "ca"> {
  readonly cells: number;
  readonly processes: number;
  readonly nodeArgs: readonly string[];
}

/** Certificates made at once. */
const signedAtOnce = 16;

export class CellHosts implements AsyncDisposable {
  readonly #children: readonly ChildProcess[];
  readonly #dir: string;
  /** The longest delay of a host's event loop since the last time this was set to 0. */
  eventLoopDelayMaxMs = 0;

  private constructor(children: readonly ChildProcess[], dir: string) {
    this.#children = children;
    this.#dir = dir;
  }

  /** Resolves when every cell serves and dials. */
  static async start(options: CellHostsOptions): Promise<CellHosts> {
    const { cells, processes, nodeArgs, ...shared } = options;
    const { ca, facts } = await certificates(cells);
    const dir = await mkdtemp(join(tmpdir(), "muster-cells-"));
    const children = Array.from({ length: processes }, (_, n) => {
      const log = openSync(join(dir, `log-${n}`), "a");
      const stdio = ["ignore", log, log, "ipc"] as const;
      const child = fork(fileURLToPath(new URL("cell-host.js", import.meta.url)), { execArgv: [...nodeArgs], stdio: [...stdio] });
      closeSync(log);
      return child;
    });
    const hosts = new CellHosts(children, dir);
    await Promise.all(
      children.map((child, n) => {
        const own = facts.filter((_, number) => number % processes === n);
        return ask(child, { ...shared, ca, cells: own });
      }),
    );
    return hosts;
  }

  get pids(): readonly number[] {
    return this.#children.map(({ pid }) => pid ?? -1);
  }

  /** How it goes, over all hosts. */
  async answer(sinceEpoch = 0n): Promise<HostAnswer> {
    const answers = await Promise.all(this.#children.map((child) => ask(child, { sinceEpoch: sinceEpoch.toString() })));
    const sum = (of: (answer: HostAnswer) => number): number => answers.reduce((total, one) => total + of(one), 0);
    const eventLoopDelayMaxMs = Math.max(...answers.map((one) => one.eventLoopDelayMaxMs));
    this.eventLoopDelayMaxMs = Math.max(this.eventLoopDelayMaxMs, eventLoopDelayMaxMs);
    return {
      cells: sum((one) => one.cells),
      decided: sum((one) => one.decided),
      containers: sum((one) => one.containers),
      running: sum((one) => one.running),
      reserved: sum((one) => one.reserved),
      sessions: sum((one) => one.sessions),
      eventLoopDelayMaxMs,
    };
  }

  log(): string {
    return this.#children.map((_, n) => readFileSync(join(this.#dir, `log-${n}`), "utf8")).join("");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(
      this.#children.map(async (child) => {
        if (child.exitCode !== null || child.signalCode !== null) return;
        const exited = once(child, "exit");
        if (child.connected) child.disconnect();
        else child.kill("SIGKILL");
        await exited;
      }),
    );
    await rm(this.#dir, { recursive: true, force: true });
  }
}

async function certificates(cells: number): Promise<{ readonly ca: string; readonly facts: readonly CellFacts[] }> {
  const facts: CellFacts[] = [];
  let ca = "";
  for (let from = 0; from < cells; from += signedAtOnce) {
    const numbers = Array.from({ length: Math.min(signedAtOnce, cells - from) }, (_, n) => from + n);
    const made = await Promise.all(numbers.map((number) => quickTlsOf(`cell:${cellIdOf(number)}`)));
    made.forEach((tls, n) => {
      ca = tls.ca.toString();
      facts.push({ number: from + n, cert: tls.cert.toString(), key: tls.key.toString() });
    });
  }
  return { ca, facts };
}

/** One question at a time to each host. @throws when it ended. */
async function ask(child: ChildProcess, message: HostFacts | HostQuestion): Promise<HostAnswer> {
  const over = new AbortController();
  const answered = once(child, "message", { signal: over.signal }) as Promise<[HostAnswer]>;
  const ended = once(child, "exit", { signal: over.signal }).then(() => {
    throw new Error("a host of cells ended");
  });
  ended.catch(() => undefined);
  answered.catch(() => undefined);
  child.send(message);
  try {
    return (await Promise.race([answered, ended]))[0];
  } finally {
    over.abort();
  }
}
