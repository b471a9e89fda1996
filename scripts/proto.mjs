// The wire contracts: generate TypeScript from them, check that they are tidy, fresh and compatible, or set a new baseline.
import { readdirSync, readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import process from "node:process";
import { Refusal, run, say, takeSignals } from "./lib/run.mjs";
import { root } from "./lib/workspace.mjs";

const proto = path.join(root, "proto");
const buf = (...args) => run(path.join(proto, "node_modules/.bin/buf"), args, { cwd: proto, limitMs: 120_000 });

async function must(what, ...args) {
  const { code } = await buf(...args);
  if (code !== 0) throw new Refusal(what);
}

/** Every file below a folder with its text, so that two folders can be compared. */
const filesBelow = (folder) =>
  new Map(
    readdirSync(folder, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => path.join(entry.parentPath, entry.name))
      .map((file) => [path.relative(folder, file), readFileSync(file, "utf8")]),
  );

/** Names the files in which two folders differ, sorted. */
function differences(committed, generated) {
  const [a, b] = [filesBelow(committed), filesBelow(generated)];
  return [...new Set([...a.keys(), ...b.keys()])].filter((name) => a.get(name) !== b.get(name)).sort();
}

async function checkFresh() {
  const folder = await mkdtemp(path.join(tmpdir(), "muster-proto-"));
  try {
    await must("buf could not generate", "generate", "-o", folder);
    const stale = differences(path.join(proto, "gen"), path.join(folder, "gen"));
    if (stale.length > 0)
      throw new Refusal(`proto/gen is stale (${stale.join(", ")}): run npm run gen and commit what it writes`);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

const verbs = {
  gen: () => must("buf could not generate", "generate"),
  check: async () => {
    await must("the proto files break buf's lint rules", "lint");
    await must("proto breaks the wire contract of baseline.binpb", "breaking", "--against", "baseline.binpb");
    await checkFresh();
    say("proto: lint, wire compatibility and generated code hold");
  },
  // Replaced only by a commit that says why the old contract may be given up.
  baseline: () => must("buf could not build", "build", "-o", "baseline.binpb"),
};

const verb = verbs[process.argv[2] ?? ""];
takeSignals();
try {
  if (verb === undefined) throw new Refusal(`usage: node scripts/proto.mjs ${Object.keys(verbs).join(" | ")}`, 2);
  await verb();
} catch (error) {
  if (!(error instanceof Refusal)) throw error;
  say(error.message);
  process.exitCode = error.exitCode;
}
