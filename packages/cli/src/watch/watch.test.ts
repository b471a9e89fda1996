// What a watch tells: revisions, tokens that skip nothing, and no secrets.
import type { WatchResponse } from "@muster/proto/muster/v1/watch";
import { encodeRecord, recordCodecs } from "@muster/shared/codec";
import { type RecordKind, type RecordOf, rowKeyOf } from "@muster/shared/model";
import { actualLRP, desiredLRP, task } from "@muster/shared/testing";
import { describe, expect, it } from "vitest";
import { UsageError } from "../exit.js";
import { changeText, kindNamed, recordJson } from "./record-json.js";
import { WatchTeller } from "./teller.js";
import { formatToken, parseToken } from "./token.js";

const change = <Kind extends RecordKind>(kind: Kind, key: string, record: RecordOf[Kind] | undefined) => ({
  kind: recordCodecs[kind].wireKind ?? 0,
  key,
  record: record === undefined ? undefined : Buffer.from(encodeRecord(kind, record)),
});
const say = (message: WatchResponse["message"]): WatchResponse => ({ message, clusterTimeMs: 0n, leaderEpoch: 1n });
const token = (sequence: bigint) => ({ incarnation: "store", sequence });
const row = actualLRP({});
const key = rowKeyOf(row);

describe("a watch", () => {
  it("tells what is there, then each change with what it changed", () => {
    const teller = new WatchTeller(undefined);
    const there = teller.tell(say({ $case: "snapshot", value: { changes: [change("actualLRP", key, row)] } }));
    expect(there).toMatchObject([{ line: { event: "record", kind: "actual-lrp", key, record: { state: "UNCLAIMED" } } }]);
    expect(teller.tell(say({ $case: "synced", value: { token: token(7n) } }))).toMatchObject([
      { line: { event: "synced", revision: "7", token: "store/7" }, text: expect.stringContaining("1 records at revision 7") },
    ]);
    const changed = { ...row, placementError: "insufficient resources: memory" };
    const [told] = teller.tell(
      say({ $case: "commit", value: { token: token(8n), changes: [change("actualLRP", key, changed)] } }),
    );
    expect(told?.line).toMatchObject({ event: "put", revision: "8", token: "store/8" });
    expect(told?.text).toBe(`8  actual-lrp ${key}  placement_error: - → insufficient resources: memory`);
    const [gone] = teller.tell(
      say({ $case: "commit", value: { token: token(9n), changes: [change("actualLRP", key, undefined)] } }),
    );
    expect(gone).toMatchObject({ line: { event: "removed", key, revision: "9" }, text: `9  actual-lrp ${key}  removed` });
    expect(teller.token).toEqual(token(9n));
  });

  it("gives the token of a commit on its last line only, so that a resume skips nothing of it", () => {
    const changes = [0, 1, 2].map((index) => change("actualLRP", `p/${index}/ORDINARY`, actualLRP({ index })));
    const told = new WatchTeller(token(1n)).tell(say({ $case: "commit", value: { token: token(2n), changes } }));
    expect(told.map(({ line }) => line.token)).toEqual([undefined, undefined, "store/2"]);
  });

  it("that must begin anew says so and forgets its token", () => {
    const teller = new WatchTeller(token(3n));
    expect(teller.tell(say({ $case: "reset", value: { reason: "history does not reach back so far" } }))).toMatchObject([
      { line: { event: "reset", reason: "history does not reach back so far" } },
    ]);
    expect(teller.token).toBeUndefined();
  });

  it("tells progress once, to scripts alone", () => {
    const teller = new WatchTeller(token(3n));
    const progress = say({ $case: "progress", value: { token: token(5n) } });
    expect(teller.tell(progress)).toEqual([{ line: { event: "progress", revision: "5", token: "store/5" } }]);
    expect(teller.tell(progress)).toEqual([]);
  });
});

describe("a record as JSON", () => {
  it("keeps 64-bit numbers as text and routes as what they hold", () => {
    const json = recordJson(desiredLRP({ routes: new Map([["http", Buffer.from('{"hosts":["a"]}')]]) }));
    expect(json.routes).toEqual({ http: { hosts: ["a"] } });
    expect(json.created_at_ns).toMatch(/^\d+$/);
  });

  it("holds no user name and no password of a URL", () => {
    const json = recordJson(task({ completionCallbackUrl: "https://me:secret@host/done" }));
    expect(json.completion_callback_url).toBe("https://host/done");
    expect(JSON.stringify(json)).not.toContain("secret");
  });

  it("has no kind for what is sealed", () => {
    for (const kind of ["run-info", "task-definition", "continuation"]) expect(kindNamed(kind)).toBeUndefined();
    expect(kindNamed("Tasks")).toBe("task");
    expect(kindNamed("actual_lrps")).toBe("actualLRP");
  });

  it("tells of one that was not known before what matters", () => {
    expect(changeText("featureFlag", undefined, { name: "diego_docker", enabled: false })).toBe("enabled: false");
  });
});

it("a token is passed on as it was printed", () => {
  expect(parseToken(formatToken(token(12n)))).toEqual(token(12n));
  for (const text of ["", "12", "store/", "store/x", "a b/1"]) expect(() => parseToken(text)).toThrow(UsageError);
});
