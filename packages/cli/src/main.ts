// The process behind `./muster` and `npm start`: reads the arguments, runs one verb, and ends with its exit code.
import { systemClock, systemEntropy } from "@muster/shared/clock";
import { CommanderError } from "commander";
import type { CommonFlags, Context } from "./context.js";
import { exitCodes, explain } from "./exit.js";
import { Output } from "./output.js";
import { makeProgram } from "./program.js";
import { listenForStop } from "./stop-signals.js";

const version = "0.1.0";
/** 128 + SIGINT, as shells have it. */
const interrupted = 130;

async function run(argv: readonly string[]): Promise<number> {
  const stop = listenForStop(systemClock);
  let context: Context | undefined;
  const program = makeProgram((flags: CommonFlags) => {
    const out = new Output({
      json: flags.json ?? false,
      stdout: process.stdout,
      stderr: process.stderr,
      color: (process.env.NO_COLOR ?? "") === "",
    });
    context = { out, clock: systemClock, entropy: systemEntropy, signal: stop.signal, flags, onForce: stop.onForce };
    return context;
  }, version);
  for (const command of [program, ...program.commands]) command.exitOverride();
  try {
    await program.parseAsync([...argv]);
    return exitCodes.done;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? exitCodes.done : exitCodes.usage;
    if (stop.signal.aborted && error === stop.signal.reason) return interrupted;
    const { message, hint, exitCode, cause } = explain(error);
    process.stderr.write(`muster: ${message}${hint === undefined ? "" : `\n  ${hint}`}\n`);
    if (exitCode === exitCodes.unexpected && cause instanceof Error) process.stderr.write(`${cause.stack ?? ""}\n`);
    return exitCode;
  }
}

process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  // `muster logs web | head`: whoever read us has read enough.
  if (error.code === "EPIPE") process.exit(exitCodes.done);
  throw error;
});
process.exitCode = await run(process.argv);
// Connections that are being closed must not keep a finished verb alive.
process.exit();
