// The LMDB driver under the contract of all drivers.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "@muster/shared/clock";
import { openLmdbStore } from "@muster/store/lmdb";
import { describeStoreContract } from "./contract.js";

describeStoreContract("lmdb", async () => {
  const path = await mkdtemp(join(tmpdir(), "muster-lmdb-"));
  return {
    open: () => openLmdbStore({ path, clock: systemClock }),
    shared: false,
    ttlMs: 10_000,
    depose: (_name, holder) => holder.resign(),
    [Symbol.asyncDispose]: () => rm(path, { recursive: true }),
  };
});
