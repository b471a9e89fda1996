// Sealing anew decides on the record as it is, in bounded pieces; a survey tells missing keys, wrong keys and damaged records apart.

import { systemClock } from "@muster/shared/clock";
import { BbsError, OperatorError } from "@muster/shared/errors";
import { silentLog } from "@muster/shared/log";
import { asEpochMs, asProcessGuid, put, Tables } from "@muster/shared/model";
import { describe, expect, it } from "vitest";
import type { CoreState } from "../core/decision.js";
import { createSealer } from "./index.js";
import { resealAll, resealNext, type SealedKey, SealSurvey } from "./reseal.js";

const old = { label: "old", passphrase: "the passphrase of before" };
const young = { label: "young", passphrase: "the passphrase of now" };
const before = createSealer({ keys: [old], activeLabel: "old" });
const ring = createSealer({ keys: [old, young], activeLabel: "young" });

const runInfo = (guid: string, sealed: Uint8Array) => put("runInfo", { processGuid: asProcessGuid(guid), sealed });
const stateOf = (...writes: ReturnType<typeof put>[]): CoreState => {
  const tables = new Tables();
  tables.applyAll(writes);
  return { tables, graceUntilMs: asEpochMs(0), leaderSinceMs: asEpochMs(0) } as CoreState;
};
const keysOf = (...guids: string[]): SealedKey[] => guids.map((key) => ({ kind: "runInfo", key }));
const text = (plain: Uint8Array): string => Buffer.from(plain).toString();
const cut = (sealed: Uint8Array): Uint8Array => {
  const bytes = Buffer.from(sealed);
  bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
  return bytes;
};
const decide = (state: CoreState, keys: SealedKey[]) => resealNext(ring, keys)(state, undefined as never);

describe("one command of sealing anew", () => {
  it("leaves alone what was removed or written anew since it was looked at", () => {
    const state = stateOf(
      runInfo("stays", before.seal(Buffer.from("as it was"))),
      runInfo("changed", ring.seal(Buffer.from("written since"))),
    );
    const { writes, reply } = decide(state, keysOf("gone", "changed", "stays"));
    expect(reply).toEqual({ taken: 3, sealed: 1, unreadable: 0 });
    expect(writes.map(({ key }) => key)).toEqual(["stays"]);
    const [write] = writes;
    const sealed = write?.kind === "runInfo" ? write.record?.sealed : undefined;
    expect(ring.labelOf(sealed ?? Buffer.alloc(0))).toBe("young");
    expect(text(ring.open(sealed ?? Buffer.alloc(0)))).toBe("as it was");
  });

  it("is bounded in records and in bytes, and passes over what cannot be opened", () => {
    const guids = Array.from({ length: 120 }, (_, number) => `p-${number}`);
    const small = stateOf(...guids.map((guid) => runInfo(guid, before.seal(Buffer.from(guid)))));
    expect(decide(small, keysOf(...guids)).reply).toEqual({ taken: 50, sealed: 50, unreadable: 0 });
    const large = stateOf(...guids.map((guid) => runInfo(guid, before.seal(Buffer.alloc(100_000)))));
    expect(decide(large, keysOf(...guids)).reply.sealed).toBe(2);
    const damaged = stateOf(runInfo("a", cut(before.seal(Buffer.from("a")))), runInfo("b", before.seal(Buffer.from("b"))));
    expect(decide(damaged, keysOf("a", "b")).reply).toEqual({ taken: 2, sealed: 1, unreadable: 1 });
  });
});

it("goes through everything, also when the store is away for a while or takes a record no more", async () => {
  const guids = Array.from({ length: 160 }, (_, number) => `p-${number}`);
  const state = stateOf(...guids.map((guid) => runInfo(guid, before.seal(Buffer.from(guid)))));
  let calls = 0;
  const journal = {
    submit: async <Reply>(command: (state: CoreState, context: never) => { writes: readonly never[]; reply: Reply }) => {
      calls += 1;
      if (calls === 2) throw new BbsError("Unavailable");
      if (calls === 3) throw new BbsError("InvalidRequest", "the request needs 1500000 bytes of storage");
      const { writes, reply } = command(state, undefined as never);
      state.tables.applyAll(writes);
      return reply;
    },
  };
  const signal = new AbortController().signal;
  const options = { journal: journal as never, ring, clock: systemClock, log: silentLog(), signal };
  expect(await resealAll(options, keysOf(...guids))).toBeGreaterThan(0);
  const labels = [...state.tables.runInfos.values()].map(({ sealed }) => ring.labelOf(sealed));
  // The one that is too large with the longer label stays as it is.
  expect(labels.filter((label) => label === "old")).toHaveLength(1);
});

describe("a survey of what is stored", () => {
  const surveyed = (...sealed: Uint8Array[]): SealSurvey => {
    const survey = new SealSurvey(ring);
    for (const [at, bytes] of sealed.entries()) survey.see("runInfo", `p-${at}`, bytes);
    return survey;
  };

  it("names what another key than the active one sealed, and is content with damaged records among good ones", () => {
    const good = before.seal(Buffer.from("x"));
    const survey = surveyed(good, ring.seal(Buffer.from("y")), cut(good), Buffer.from("nothing that was ever sealed"));
    survey.check();
    expect(survey.stale.map(({ key }) => key)).toEqual(["p-0", "p-2"]);
    expect(survey.unreadable).toBe(1);
  });

  it("refuses a label without its key, and a key that is not the label's", () => {
    const foreign = createSealer({ keys: [{ label: "foreign", passphrase: "somewhere else's" }], activeLabel: "foreign" });
    expect(() => surveyed(foreign.seal(Buffer.from("x"))).check()).toThrow(OperatorError);
    expect(() => surveyed(foreign.seal(Buffer.from("x"))).check()).toThrow('under the encryption key "foreign"');
    const impostor = createSealer({ keys: [{ label: "old", passphrase: "not the passphrase of before" }], activeLabel: "old" });
    expect(() => surveyed(impostor.seal(Buffer.from("x"))).check()).toThrow('key "old" does not open');
  });
});
