// Runs one child process at a time for the bootstrap: nothing on stdin, a bound on its time, and an end that is passed on once.
import { spawn } from "node:child_process";

/** A refusal that says what to do; the bootstrap prints only its message. */
export class Refusal extends Error {
  constructor(message, exitCode = 1) {
    super(message);
    this.exitCode = exitCode;
  }
}

const exitCodes = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 };
const textLimit = 1024 * 1024; // Characters of a quiet child's output that are kept, from its end.
const graceMs = 15_000; // apt and vitest both end well within it; then SIGKILL.
/** @type {import("node:child_process").ChildProcess | undefined} */
let current;
/** @type {keyof typeof exitCodes | undefined} */
let interrupted;

function killGroup(child, signal) {
  try {
    process.kill(-child.pid, signal);
  } catch {
    // It has ended already.
  }
}

function end(child, signal) {
  killGroup(child, signal);
  setTimeout(() => killGroup(child, "SIGKILL"), graceMs).unref();
}

// A Ctrl-C under npm arrives twice (terminal and npm); only the first counts.
const onSignal = (signal) => {
  if (interrupted !== undefined) return;
  interrupted = signal;
  if (current !== undefined) end(current, signal);
};

/** Takes signals over from now on: the running child is ended first, then `run` rejects, so that cleanups happen. */
export function takeSignals() {
  for (const signal of Object.keys(exitCodes)) process.on(signal, onSignal);
}

/** Gives signals back, for whoever runs next in this process. Throws when one has arrived meanwhile. */
export function releaseSignals() {
  for (const signal of Object.keys(exitCodes)) process.off(signal, onSignal);
  refuseIfInterrupted();
}

function refuseIfInterrupted() {
  if (interrupted !== undefined) throw new Refusal(`stopped by ${interrupted}`, exitCodes[interrupted]);
}

export const say = (line) => process.stderr.write(`muster: ${line}\n`);

/**
 * Runs a command in its own process group, so that a signal reaches all of it and reaches it once.
 * Its output goes to our stdout ("inherit"), nowhere ("ignore"), or is gathered and shown on stderr only if it fails ("quiet").
 * @param {string} command @param {readonly string[]} args
 * @param {{ cwd?: string, env?: Record<string, string>, limitMs: number, output?: "inherit" | "ignore" | "quiet" }} options
 * @returns {Promise<{ code: number, text: string }>} code 127: there is no such command; 124: the time limit was reached.
 */
export async function run(command, args, { cwd, env, limitMs, output = "quiet" }) {
  refuseIfInterrupted();
  const stdio = { inherit: ["ignore", 1, 2], ignore: ["ignore", "ignore", "ignore"], quiet: ["ignore", "pipe", "pipe"] }[output];
  const child = spawn(command, args, { cwd, detached: true, stdio, env: { ...process.env, CI: "true", ...env } });
  current = child;
  let text = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding("utf8").on("data", (chunk) => {
      text = (text + chunk).slice(-textLimit);
    });
  }
  let late = false;
  const limit = setTimeout(() => {
    late = true;
    say(`${command} took longer than ${limitMs / 1000} s and is ended`);
    end(child, "SIGTERM");
  }, limitMs);
  const exit = await new Promise((resolve, reject) => {
    child.on("error", (error) => (error.code === "ENOENT" ? resolve(127) : reject(error)));
    child.on("close", (status) => resolve(status ?? 1));
  });
  clearTimeout(limit);
  current = undefined;
  refuseIfInterrupted();
  const code = late ? 124 : exit;
  if (output === "quiet" && code !== 0) process.stderr.write(text);
  return { code, text };
}
