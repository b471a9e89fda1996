// A process that writes to an LMDB store until it is killed. It prints each sequence once its commit is acknowledged.
import { writeSync } from "node:fs";
import { systemClock } from "@muster/shared/clock";
import { openLmdbStore } from "@muster/store/lmdb";
import { never, put, Scribe } from "./scribe.js";

const [path = ""] = process.argv.slice(2);
const store = await openLmdbStore({ path, clock: systemClock });
const bbs = new Scribe(store, await store.campaign("bbs", "x", 10_000, never), await store.readHead(never));
for (;;) {
  const n = (bbs.head?.sequence ?? 0n) + 1n;
  await bbs.write(Array.from({ length: 50 }, (_, i) => put(`k/${i}`, `${n}`)));
  writeSync(1, `${n}\n`);
}
