// `restore`: puts a backup into the home's store, or into etcd, while no BBS runs on it. The BBS's own restore program does the work:
// nobody else knows the store.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { lockFolder } from "@muster/shared/lifecycle";
import { z } from "zod";
import { homeOf } from "../client/settings.js";
import type { Context } from "../context.js";
import { CliError, exitCodes, RefusedError, UsageError } from "../exit.js";
import { type Home, openHome } from "../up/home.js";
import { awaitLeftovers } from "../up/leftovers.js";
import { parseStoreOptions, type StoreFlags } from "../up/options.js";
import { storeConfig } from "../up/service-plan.js";

export interface RestoreFlags extends StoreFlags {
  readonly force?: boolean;
}

/** packages/cli/{src,dist}/verbs/ is four folders below the root of the repository. */
const program = fileURLToPath(new URL("../../../../services/bbs/dist/backup/main.js", import.meta.url));
/** The leadership of a BBS that was killed lapses within 10 s. */
const waitMs = 15_000;

const answerSchema = z.discriminatedUnion("ok", [
  z.object({ ok: z.literal(false), message: z.string(), hint: z.string() }),
  z.object({
    ok: z.literal(true),
    records: z.number(),
    by_kind: z.record(z.string(), z.number()),
    replaced: z.number(),
    incarnation: z.string(),
    taken_from: z.string(),
    taken_at_sequence: z.string(),
    schema_version: z.number(),
    cluster_time_ms: z.number(),
  }),
]);

export async function restore(context: Context, name: string, flags: RestoreFlags): Promise<void> {
  const file = path.resolve(name);
  if (!existsSync(file)) throw new UsageError(`the file ${file} does not exist`);
  const store = parseStoreOptions(flags);
  const dir = homeOf(context.flags);
  mkdirSync(dir, { recursive: true });
  await using _lock = await lockFolder(dir, "muster restore");
  const home = openHome(dir);
  await awaitLeftovers(home.servicesFile, home.config, context.clock, context.signal);
  const orders = {
    file,
    force: flags.force ?? false,
    wait_ms: waitMs,
    store: storeConfig(store, home.bbsData),
    encryption_keys: keysOf(home),
  };
  const answer = await run(orders, context.signal);
  if (!answer.ok) throw new RefusedError(answer.message, answer.hint);
  const { ok: _ok, cluster_time_ms, ...facts } = answer;
  const shape = { file, store: store.driver, ...facts, cluster_time: new Date(cluster_time_ms).toISOString() };
  context.out.show(shape, () => {
    context.out.line(`${shape.records} records are restored${shape.replaced > 0 ? `, in place of ${shape.replaced}` : ""}`);
    context.out.table(
      ["KIND", "RECORDS"],
      Object.entries(shape.by_kind).map(([kind, count]) => [kind, String(count)]),
    );
    context.out.line("Start the platform with `muster up` as before.");
  });
}

/** Of the home as it is: keys made now could open nothing. */
function keysOf(home: Home): Readonly<Record<string, string>> {
  const file = path.join(home.dir, "keys.json");
  if (!existsSync(file)) return {};
  return z.object({ encryption_keys: z.record(z.string(), z.string()) }).parse(JSON.parse(readFileSync(file, "utf8")))
    .encryption_keys;
}

async function run(orders: object, signal: AbortSignal): Promise<z.infer<typeof answerSchema>> {
  const child = spawn(process.execPath, [program], { stdio: ["pipe", "pipe", "inherit"] });
  // Cut in the middle, the store says so itself and the restore is made again.
  const end = (): void => void child.kill("SIGTERM");
  signal.addEventListener("abort", end, { once: true });
  try {
    const exited = once(child, "exit");
    child.stdin.on("error", () => undefined);
    child.stdin.end(JSON.stringify(orders));
    const said = await text(child.stdout);
    const [code] = (await exited) as [number | null];
    signal.throwIfAborted();
    if (code === 0) return answerSchema.parse(JSON.parse(said));
    throw new CliError(exitCodes.unexpected, `the restore failed (exit ${code}); the store may be half written`, "restore again");
  } finally {
    signal.removeEventListener("abort", end);
  }
}
