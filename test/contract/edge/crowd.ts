// A crowd at the door: as many connections as the BBS takes, and some more. Those beyond are closed, those that are there go on.
import { readFileSync } from "node:fs";
import { type ClientHttp2Session, connect } from "node:http2";
import { systemClock } from "@muster/shared/clock";
import { unary } from "@muster/shared/rpc";
import { caOf, clientsOf, lmdbHome, spawnBbs, tlsOf } from "../../support/bbs.js";

export interface CrowdReport {
  /** What was asked for, and what this machine's limit of open files allows. */
  readonly asked: number;
  readonly tried: number;
  readonly open: number;
  readonly turned_away: number;
  readonly counted_full: number;
  readonly seconds: number;
  /** Of a caller that was there before everybody, while they came and once they were there. */
  readonly ping_ms_worst: number;
  readonly pings_failed: number;
  readonly bbs_memory_mib: number;
  readonly wrong: readonly string[];
}

/** The BBS's own bound: packages/shared, rpc/door.ts. */
const cap = 10_000;
/** Files of this process that are no connections, and those of the BBS's own. */
const otherFiles = 200;
const handshakesAtOnce = 32;

const fileLimit = (): number => Number(/^Max open files\s+(\d+)/m.exec(readFileSync("/proc/self/limits", "utf8"))?.[1] ?? 1_024);

/** Opens so many connections, more of them than the BBS takes where the machine allows it. */
export async function runCrowd(asked: number): Promise<CrowdReport> {
  const tried = Math.min(asked, fileLimit() - otherFiles);
  await using home = await lmdbHome();
  await using bbs = await spawnBbs(home);
  await bbs.until("active", 60_000);
  using early = await clientsOf([bbs.address], "operator");
  const [ca, { cert, key }] = [await caOf("Muster test"), await tlsOf("cell:cell-1")];
  const sessions = new Set<ClientHttp2Session>();
  let turnedAway = 0;
  const come = (): Promise<void> =>
    new Promise((resolve) => {
      const session = connect(`https://${bbs.address}`, { ca, cert, key, servername: "localhost" });
      let settled = false;
      session.on("error", () => undefined);
      // Settings are the server's first word: it has taken the connection.
      session.once("remoteSettings", () => {
        settled = true;
        sessions.add(session);
        resolve();
      });
      session.once("close", () => {
        sessions.delete(session);
        if (!settled) turnedAway += 1;
        resolve();
      });
    });
  const startedMs = systemClock.elapsedMs();
  let coming = 0;
  const crowd = Promise.all(
    Array.from({ length: handshakesAtOnce }, async () => {
      while (coming < tried) {
        coming += 1;
        await come();
      }
    }),
  );
  const pings = pinging(() => unary(early.bbs.ping.bind(early.bbs), {}, { deadlineMs: 10_000 }));
  await crowd;
  const seconds = Math.round((systemClock.elapsedMs() - startedMs) / 1_000);
  const { worstMs, failed } = await pings.end();
  const open = sessions.size;
  const text = await bbs.metrics();
  const counted = Number(/^bbs_connections_refused_total\{[^}]*reason="full"[^}]*\} (\d+)/m.exec(text)?.[1] ?? 0);
  const memory = await bbs.metric("process_resident_memory_bytes");
  for (const session of sessions) session.destroy();
  const wrong: string[] = [];
  if (failed > 0) wrong.push(`${failed} pings of a caller that was there before failed`);
  if (open > cap) wrong.push(`${open} connections are open, ${cap} are allowed`);
  if (tried < cap && turnedAway > 0) wrong.push(`${turnedAway} were turned away although there was room`);
  if (tried > cap && counted < tried - cap) wrong.push(`${counted} are counted as turned away, ${tried - cap} were too many`);
  return {
    asked,
    tried,
    open,
    turned_away: turnedAway,
    counted_full: counted,
    seconds,
    ping_ms_worst: worstMs,
    pings_failed: failed,
    bbs_memory_mib: Math.round(memory / 1024 ** 2),
    wrong,
  };
}

/** Calls again and again, one at a time, until `end`. */
function pinging(ping: () => Promise<unknown>) {
  let over = false;
  let worstMs = 0;
  let failed = 0;
  const running = (async () => {
    while (!over) {
      const sinceMs = systemClock.elapsedMs();
      await ping().catch(() => {
        failed += 1;
      });
      worstMs = Math.max(worstMs, Math.round(systemClock.elapsedMs() - sinceMs));
    }
  })();
  return {
    end: async () => {
      over = true;
      await running;
      return { worstMs, failed };
    },
  };
}
