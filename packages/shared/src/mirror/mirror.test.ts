// How a mirror comes back: soon where nobody answers, ever later where there is no room, with its token each time; and whom it believes.
import { RecordKind, type WatchRequest, type WatchResponse } from "@muster/proto/muster/v1/watch";
import { describe, expect, it } from "vitest";
import { fakeClock } from "../clock/index.js";
import { encodeRecord, toBuffer } from "../codec/index.js";
import { BbsError } from "../errors/index.js";
import { silentLog } from "../log/index.js";
import { asDomainName } from "../model/index.js";
import { Mirror } from "./index.js";

type Message = NonNullable<WatchResponse["message"]>;
const said = (message: Message): WatchResponse => ({ message, clusterTimeMs: 0n, leaderEpoch: 1n });
const token = { incarnation: "store", sequence: 7n };
const synced = said({ $case: "synced", value: { token } });

/** Runs a mirror for so long on attempts that end as told; the last one is repeated. Returns when each began, and what it asked. */
async function attempts(forMs: number, ...ends: (readonly [readonly WatchResponse[], BbsError])[]) {
  const clock = fakeClock();
  const began: number[] = [];
  const asked: WatchRequest[] = [];
  const startMs = clock.elapsedMs();
  const mirror = new Mirror({
    open: async function* (request) {
      const [messages, error] = ends[Math.min(began.length, ends.length - 1)] ?? [[], new BbsError("Unavailable")];
      began.push(clock.elapsedMs() - startMs);
      asked.push(request);
      yield* messages;
      throw error;
    },
    kinds: ["actualLRP"],
    clock,
    log: silentLog(),
  });
  const stop = new AbortController();
  const running = mirror.run(stop.signal);
  await clock.advance(forMs);
  stop.abort();
  await running;
  return { began, asked };
}

describe("a mirror whose watch breaks", () => {
  it("tries every 200 ms while nobody answers", async () => {
    const { began } = await attempts(1_000, [[], new BbsError("Unavailable")]);
    expect(began).toEqual([0, 200, 400, 600, 800, 1_000]);
  });

  it("waits twice as long each time it is told that there is no room, up to 3.2 s", async () => {
    const { began } = await attempts(13_000, [[], new BbsError("ResourceExhausted")]);
    expect(began).toEqual([0, 200, 600, 1_400, 3_000, 6_200, 9_400, 12_600]);
  });

  it("is back at once when a watch that went well is cut, and resumes where it stands", async () => {
    const slow = new BbsError("ResourceExhausted");
    const { began, asked } = await attempts(600, [[synced], slow]);
    expect(began).toEqual([0, 200, 400, 600]);
    expect(asked.map(({ after }) => after)).toEqual([undefined, token, token, token]);
  });
});

describe("a mirror that is told to start anew (T2)", () => {
  interface Teller {
    readonly incarnation: string;
    readonly epoch: bigint;
  }
  const newMirror = (): Mirror =>
    new Mirror({
      open: async function* () {
        // Nobody answers: the messages are given by hand.
      },
      kinds: ["domain"],
      clock: fakeClock(),
      log: silentLog(),
    });
  const tell = (mirror: Mirror, message: Message, { epoch }: Teller): void =>
    mirror.take({ message, clusterTimeMs: 1_000n * epoch, leaderEpoch: epoch });
  /** What a BBS says to a token that it cannot resume from: its store holds this one domain. */
  function anew(mirror: Mirror, domain: string, teller: Teller): void {
    const write = { name: asDomainName(domain), expiresAtMs: undefined };
    const change = { kind: RecordKind.RECORD_KIND_DOMAIN, key: domain, record: toBuffer(encodeRecord("domain", write)) };
    tell(mirror, { $case: "reset", value: { reason: "" } }, teller);
    tell(mirror, { $case: "snapshot", value: { changes: [change] } }, teller);
    tell(mirror, { $case: "synced", value: { token: { incarnation: teller.incarnation, sequence: 1n } } }, teller);
  }
  const domains = (mirror: Mirror): string[] => [...mirror.tables.domains.keys()];
  const first = { incarnation: "first", epoch: 5n };

  it("takes a store it has not seen, whose leaders count from the start, and never goes back to the one it left", () => {
    const mirror = newMirror();
    anew(mirror, "lost", first);
    anew(mirror, "restored", { incarnation: "second", epoch: 2n });
    expect(domains(mirror)).toEqual(["restored"]);
    expect(() => anew(mirror, "lost", { ...first, epoch: 9n })).toThrow("left");
    expect(domains(mirror)).toEqual(["restored"]);
    expect(mirror.token?.incarnation).toBe("second");
  });

  it("believes no older leader of the same store, and stays where it stands", () => {
    const mirror = newMirror();
    anew(mirror, "now", first);
    const nowMs = mirror.nowMs();
    expect(() => anew(mirror, "then", { ...first, epoch: 4n })).toThrow("older leader");
    expect(domains(mirror)).toEqual(["now"]);
    expect(mirror.nowMs()).toBe(nowMs);
    expect(mirror.token).toEqual({ incarnation: "first", sequence: 1n });
  });
});
