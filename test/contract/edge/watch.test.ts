// Watches whose consumers take nothing, over real connections: their room comes back, their calls end with a status, and the others
// never notice. A BBS of its own: it is filled until snapshots no longer fit into a connection's buffers.
import type { ClientReadableStream } from "@grpc/grpc-js";
import { RecordKind, type ResumeToken, type WatchResponse } from "@muster/proto/muster/v1/watch";
import type { BbsError } from "@muster/shared/errors";
import { fromServiceError, unary } from "@muster/shared/rpc";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type BbsClients, clientsOf, type InProcessBbs, memoryHome, type StoreHome, startBbs } from "../../support/bbs.js";
import { desire, desired, eventually, updateOf } from "../bbs/fixtures.js";
import { follow, tokenOf } from "../bbs/watch.js";

/** 10 KB is the most an annotation may have. */
const annotation = "x".repeat(10_000);
const processes = 600;

let home: StoreHome;
let bbs: InProcessBbs;
let controller: BbsClients;
const others: BbsClients[] = [];
beforeAll(async () => {
  home = await memoryHome();
  bbs = await startBbs(home);
  controller = await clientsOf([bbs.address], "controller");
  for (let n = 0; n < processes; n += 1) await desire(controller, desired(`big-${n}`, { annotation, instances: 0 }));
});
afterAll(async () => {
  for (const clients of [controller, ...others]) clients[Symbol.dispose]();
  await bbs[Symbol.asyncDispose]();
  await home[Symbol.asyncDispose]();
});

const kinds = [RecordKind.RECORD_KIND_DESIRED_LRP];

/** A connection of its own: a stream that is not read holds up the others of its connection. */
async function another(): Promise<BbsClients> {
  const clients = await clientsOf([bbs.address], "operator");
  others.push(clients);
  return clients;
}

/** A watch of which one message is read, and no more. */
async function stuck(after?: ResumeToken): Promise<ClientReadableStream<WatchResponse>> {
  const { watch } = await another();
  const call = watch.watch({ after, kinds, cellId: "" });
  call.on("error", () => undefined);
  call.once("data", () => call.pause());
  return call;
}

/** Reads on to the end. */
const endOf = (call: ClientReadableStream<WatchResponse>): Promise<BbsError> =>
  new Promise((resolve) => {
    call.on("error", (error) => resolve(fromServiceError(error)));
    call.resume();
  });

describe("a snapshot that nobody takes", () => {
  it("holds one of four rooms for five seconds, then is cut; others are told to come again and then get theirs", async () => {
    const calls = await Promise.all([stuck(), stuck(), stuck(), stuck()]);
    await eventually("four snapshots are under way", () => (bbs.active.snapshots.taken === 4 ? true : undefined));
    const fifth = await another();
    const refused = follow(fifth, { kinds }, (message) => message.$case === "synced");
    await expect(refused).rejects.toMatchObject({ code: "ResourceExhausted" });
    // Whoever resumes needs no room.
    const { head } = bbs;
    const after = { incarnation: head.incarnation, sequence: head.sequence };
    expect((await follow(fifth, { kinds, after }, () => true))[0]?.$case).toBe("progress");
    await eventually("the four are cut", () => (bbs.active.snapshots.taken === 0 ? true : undefined));
    expect(bbs.active.feed.watchers).toBe(0);
    const taken = await follow(fifth, { kinds }, (message) => message.$case === "synced");
    const rows = taken.flatMap((message) => (message.$case === "snapshot" ? message.value.changes : []));
    expect(rows).toHaveLength(processes);
    for (const call of calls) expect((await endOf(call)).code).toBe("ResourceExhausted");
  });

  it("leaves its room when its client is gone", async () => {
    const call = await stuck();
    await eventually("it is under way", () => (bbs.active.snapshots.taken === 1 ? true : undefined));
    call.cancel();
    await eventually("its room is free", () => (bbs.active.snapshots.taken === 0 ? true : undefined));
  });
});

describe("a consumer that stops reading", () => {
  it("is cut when too much waits for it, and goes on without a gap where it stood", async () => {
    const { head } = bbs;
    const call = await stuck({ incarnation: head.incarnation, sequence: head.sequence });
    await eventually("it watches", () => (bbs.active.feed.watchers === 1 ? true : undefined));
    const { bbs: calls } = controller;
    let writes = 0;
    for (; bbs.active.feed.watchers > 0; writes += 200) {
      await Promise.all(
        Array.from({ length: 200 }, (_, at) => {
          const update = updateOf({
            optionalAnnotation: { $case: "annotation", value: `${writes + at}${annotation.slice(10)}` },
          });
          return unary(calls.updateDesiredLrp.bind(calls), { processGuid: `big-${at}`, update }, { deadlineMs: 30_000 });
        }),
      );
    }
    const got: WatchResponse[] = [];
    call.on("data", (message: WatchResponse) => got.push(message));
    const end = await endOf(call);
    expect(end).toMatchObject({ code: "ResourceExhausted" });
    const said = got.flatMap(({ message }) => (message === undefined ? [] : [message]));
    const token = said.map(tokenOf).findLast((one) => one !== undefined);
    const changesOf = (messages: typeof said): number =>
      messages.reduce((sum, message) => sum + (message.$case === "commit" ? message.value.changes.length : 0), 0);
    const before = changesOf(said);
    expect(before).toBeLessThan(writes);
    let changes = before;
    await follow(await another(), { kinds, after: token }, (message) => {
      expect(message.$case).not.toBe("reset");
      changes += message.$case === "commit" ? message.value.changes.length : 0;
      return changes >= writes;
    });
    expect(changes).toBe(writes);
  });

  it("whose history went with the leader that had it is told so, and gets a snapshot", async () => {
    const { incarnation, sequence } = bbs.head;
    await bbs[Symbol.asyncDispose]();
    bbs = await startBbs(home);
    const after = { incarnation, sequence: sequence - 5n };
    const said = await follow(await another(), { kinds, after }, (message) => message.$case === "synced");
    expect(said[0]).toMatchObject({ $case: "reset", value: { reason: "history does not reach back so far" } });
    expect(said.at(-1)?.$case).toBe("synced");
  });
});
