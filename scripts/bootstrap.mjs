// `npm start` and `npm test` on a machine that has Node and nothing else. Plain JavaScript without dependencies: nothing is
// installed yet when it runs. It stays out of the way afterwards: `start` becomes the command line itself, in this process.
import process from "node:process";

const oldest = [20, 18];
const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
if (major < oldest[0] || (major === oldest[0] && minor < oldest[1])) {
  process.stderr.write(
    `muster: needs Node ${oldest.join(".")} or newer, this is ${process.version}. Install a newer Node (nodejs.org).\n`,
  );
  process.exit(1);
}

const usage = "usage: node scripts/bootstrap.mjs start [FLAGS of muster up] | test\n";

/** @param {string[]} argv @returns {Promise<number | undefined>} the exit code; `undefined` when the command line runs on. */
async function main([verb, ...flags]) {
  if (verb === "start") return (await import("./lib/start.mjs")).start(flags);
  if (verb === "test") return (await import("./lib/test.mjs")).test(flags);
  process.stderr.write(usage);
  return 2;
}

try {
  const code = await main(process.argv.slice(2));
  if (code !== undefined) process.exit(code);
} catch (error) {
  // Errors with an exit code are ours and say what to do; anything else is a fault of the bootstrap and shows its stack.
  const known = error instanceof Error && typeof error.exitCode === "number";
  process.stderr.write(`muster: ${known ? error.message : error instanceof Error ? error.stack : String(error)}\n`);
  process.exit(known ? error.exitCode : 1);
}
