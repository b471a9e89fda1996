// The restore program, run by `muster restore` while no BBS runs: takes its orders as one JSON document on stdin (they hold keys, which
// have no place on a command line) and answers with one on stdout.
import { text } from "node:stream/consumers";
import { systemClock, systemEntropy } from "@muster/shared/clock";
import { BbsError, OperatorError } from "@muster/shared/errors";
import { createLog } from "@muster/shared/log";
import { z } from "zod";
import { bbsConfig } from "../config.js";
import { createSealer, type KeyRing, labelOf } from "../secrets/index.js";
import { openStore } from "../store.js";
import { type Restored, restore } from "./restore.js";

const orders = z.strictObject({
  file: z.string().min(1),
  force: z.boolean(),
  wait_ms: z.number().int().min(0).max(600_000),
  store: bbsConfig.shape.store,
  encryption_keys: bbsConfig.shape.encryption_keys,
});

/** Of a home without keys: good for a backup that holds nothing sealed. */
const noKeys: KeyRing = {
  labelOf,
  knows: () => false,
  activeLabel: "",
  open: () => {
    throw new BbsError("Deserialize");
  },
  seal: () => {
    throw new BbsError("Deserialize");
  },
};

function ringOf(passphrases: Readonly<Record<string, string>>): KeyRing {
  const keys = Object.entries(passphrases).map(([label, passphrase]) => ({ label, passphrase }));
  const [first] = keys;
  return first === undefined ? noKeys : createSealer({ keys, activeLabel: first.label });
}

async function main(): Promise<Restored> {
  const { file, force, wait_ms: waitMs, store, encryption_keys } = orders.parse(JSON.parse(await text(process.stdin)));
  const log = createLog("restore", "warn");
  return restore({
    file,
    force,
    waitMs,
    ring: ringOf(encryption_keys),
    openStore: () => openStore(store, log),
    clock: systemClock,
    entropy: systemEntropy,
    log,
  });
}

const say = (answer: object): void => {
  process.stdout.write(`${JSON.stringify(answer)}\n`, () => process.exit(0));
};

main().then(
  ({ facts, head, restored, replaced }) =>
    say({
      ok: true,
      records: restored,
      by_kind: Object.fromEntries(Object.entries(facts.byPrefix).filter(([kind]) => kind !== "lock")),
      replaced,
      incarnation: head.incarnation,
      taken_from: facts.header.head?.incarnation ?? "",
      taken_at_sequence: String(facts.header.head?.sequence ?? 0n),
      schema_version: head.schemaVersion,
      cluster_time_ms: head.clusterTimeMs,
    }),
  (error: unknown) => {
    if (error instanceof OperatorError) say({ ok: false, message: error.message, hint: error.hint });
    else if (error instanceof BbsError) say({ ok: false, message: error.message, hint: "restore again" });
    else throw error;
  },
);
