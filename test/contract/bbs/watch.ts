// The watch over the wire: a snapshot, then every commit once and in order, through broken connections.
import type { Change, ResumeToken, WatchResponse } from "@muster/proto/muster/v1/watch";
import { RecordKind } from "@muster/proto/muster/v1/watch";
import { systemClock } from "@muster/shared/clock";
import { decodeRecord } from "@muster/shared/codec";
import { silentLog } from "@muster/shared/log";
import { Mirror } from "@muster/shared/mirror";
import { serverStream, unary } from "@muster/shared/rpc";
import { describe, expect, it } from "vitest";
import { type BbsClients, clientsOf } from "../../support/bbs.js";
import { claim, desire, desired, eventually, fresh, instance, outcome, rowsOf, type Subject, updateOf } from "./fixtures.js";

type Message = NonNullable<WatchResponse["message"]>;

export interface WatchAsk {
  readonly after?: ResumeToken | undefined;
  readonly kinds?: RecordKind[];
  readonly cellId?: string;
}

/** Follows a watch until `done` says so, and ends it. */
export async function follow(
  { watch }: BbsClients,
  { after, kinds = [], cellId = "" }: WatchAsk,
  done: (message: Message) => boolean,
): Promise<Message[]> {
  const said: Message[] = [];
  for await (const { message } of serverStream(watch.watch.bind(watch), { after, kinds, cellId })) {
    if (message === undefined) continue;
    said.push(message);
    if (done(message)) break;
  }
  return said;
}

export const tokenOf = (message: Message): ResumeToken | undefined =>
  message.$case === "synced" || message.$case === "commit" || message.$case === "progress" ? message.value.token : undefined;

export function describeWatch(subject: () => Subject): void {
  const { controller, operator } = { controller: () => subject().as.controller, operator: () => subject().as.operator };
  const annotate = (processGuid: string, annotation: string): Promise<unknown> => {
    const { bbs } = controller();
    const update = updateOf({ optionalAnnotation: { $case: "annotation", value: annotation } });
    return unary(bbs.updateDesiredLrp.bind(bbs), { processGuid, update });
  };

  describe("a watch", () => {
    it("misses nothing and repeats nothing over twenty broken connections, while ten writers write", async () => {
      const guids = Array.from({ length: 10 }, () => fresh("written"));
      for (const guid of guids) await desire(controller(), desired(guid, { annotation: "0" }));
      const seen = new Map(guids.map((guid): [string, number[]] => [guid, []]));
      const note = (change: Change): void => {
        if (change.record === undefined) return;
        const { annotation, processGuid } = decodeRecord("desiredLRP", change.record);
        seen.get(processGuid)?.push(Number(annotation));
      };
      const writes = 60;
      const writing = Promise.all(
        guids.map(async (guid) => {
          for (let number = 1; number <= writes; number += 1) await annotate(guid, String(number));
        }),
      );
      const kinds = [RecordKind.RECORD_KIND_DESIRED_LRP];
      let token: ResumeToken | undefined;
      let commits = 0;
      let cuts = 0;
      const complete = (): boolean => [...seen.values()].every((numbers) => numbers.at(-1) === writes);
      while (cuts < 20 || !complete()) {
        // A client of its own each time: the connection itself is new.
        using clients = await clientsOf([subject().bbs.address], "operator");
        const until = cuts < 20 ? commits + 1 + (cuts % 4) : Number.POSITIVE_INFINITY;
        await follow(clients, { after: token, kinds }, (message) => {
          if (token !== undefined) expect(message.$case).not.toBe("reset");
          if (message.$case === "snapshot" || message.$case === "commit")
            for (const change of message.value.changes) note(change);
          const stands = tokenOf(message);
          if (message.$case === "commit") {
            commits += 1;
            expect(stands?.sequence).toBeGreaterThan(token?.sequence ?? 0n);
          }
          token = stands ?? token;
          return token !== undefined && (complete() || commits >= until);
        });
        cuts += 1;
      }
      await writing;
      for (const [guid, numbers] of seen) {
        // The snapshot may have begun anywhere; from there on each number comes once and in order.
        const first = numbers[0] ?? -1;
        expect(numbers, guid).toEqual(Array.from({ length: writes - first + 1 }, (_, at) => first + at));
      }
    });

    it("begun in the middle of writes, goes on exactly where its snapshot ends", async () => {
      const guids = Array.from({ length: 8 }, () => fresh("busy"));
      for (const guid of guids) await desire(controller(), desired(guid, { annotation: "0" }));
      let stopped = false;
      const writing = Promise.all(
        guids.map(async (guid) => {
          for (let number = 1; !stopped; number += 1) await annotate(guid, String(number));
        }),
      );
      try {
        for (let watches = 0; watches < 12; watches += 1) {
          const seen = new Map(guids.map((guid): [string, number[]] => [guid, []]));
          let commits = 0;
          await follow(operator(), { kinds: [RecordKind.RECORD_KIND_DESIRED_LRP] }, (message) => {
            const changes = message.$case === "snapshot" || message.$case === "commit" ? message.value.changes : [];
            for (const { record } of changes) {
              const { annotation, processGuid } = decodeRecord("desiredLRP", record ?? Buffer.alloc(0));
              seen.get(processGuid)?.push(Number(annotation));
            }
            if (message.$case === "commit") commits += 1;
            return commits === 4;
          });
          for (const [guid, numbers] of seen) expect(numbers, guid).toEqual(numbers.map((_, at) => (numbers[0] ?? 0) + at));
        }
      } finally {
        stopped = true;
        await writing;
      }
    });

    it("a mirror is what the BBS lists", async () => {
      const stop = new AbortController();
      const { watch } = operator();
      const mirror = new Mirror({
        open: (request, signal) => serverStream(watch.watch.bind(watch), request, { signal }),
        kinds: ["desiredLRP", "actualLRP"],
        clock: systemClock,
        log: silentLog(),
      });
      const running = mirror.run(stop.signal);
      await mirror.whenSynced();
      const guid = fresh("mirrored");
      await desire(controller(), desired(guid, { instances: 3 }));
      await claim(subject().as.cell1, guid, 2, instance("a"));
      await eventually("the mirror holds the claim", () =>
        mirror.tables.rows(guid as never, 2).ORDINARY?.state === "CLAIMED" ? true : undefined,
      );
      const listed = await rowsOf(controller(), guid);
      for (const row of listed) {
        const mirrored = mirror.tables.rows(guid as never, row.actualLrpKey?.index ?? -1).ORDINARY;
        expect(mirrored?.modificationTag).toEqual(row.modificationTag);
      }
      expect([...mirror.tables.rowsOfProcess(guid as never)]).toHaveLength(listed.length);
      stop.abort();
      await running;
    });

    it("by cell shows a row when it comes and takes it away when it leaves", async () => {
      const { cell1 } = subject().as;
      const guid = fresh("passing");
      await desire(controller(), desired(guid));
      const kinds = [RecordKind.RECORD_KIND_ACTUAL_LRP];
      const ours = (message: Message): Change[] =>
        message.$case === "commit" ? message.value.changes.filter((change) => change.key.startsWith(`${guid}/`)) : [];
      let acted: Promise<unknown> | undefined;
      const said = await follow(cell1, { kinds, cellId: "cell-1" }, (message) => {
        if (message.$case === "synced") {
          acted = (async () => {
            await claim(cell1, guid, 0, instance("a"));
            const removal = { processGuid: guid, index: 0, actualLrpInstanceKey: instance("a") };
            await unary(cell1.bbs.removeActualLrp.bind(cell1.bbs), removal);
          })();
        }
        return ours(message).some((change) => change.record === undefined);
      });
      await acted;
      expect(said.flatMap(ours).map((change) => change.record !== undefined)).toEqual([true, false]);
    });

    it("with a token of another store, or of the future, starts anew", async () => {
      const said = await follow(operator(), {}, (message) => message.$case === "synced");
      const token = said.map(tokenOf).find((one) => one !== undefined);
      if (token === undefined) throw new Error("no token");
      for (const after of [
        { ...token, incarnation: "another" },
        { ...token, sequence: token.sequence + 1_000n },
      ]) {
        const anew = await follow(operator(), { after }, (message) => message.$case === "synced");
        expect(anew[0]?.$case).toBe("reset");
        expect(anew.at(-1)?.$case).toBe("synced");
      }
    });

    it("by cell names rows and tasks when no kinds are asked for, and refuses kinds that nobody knows", async () => {
      const { cell1 } = subject().as;
      await desire(controller(), desired(fresh("elsewhere")));
      const guid = fresh("here");
      await desire(controller(), desired(guid));
      await claim(cell1, guid, 0, instance("a"));
      const said = await follow(cell1, { cellId: "cell-1" }, (message) => message.$case === "synced");
      const kinds = said.flatMap((message) =>
        message.$case === "snapshot" ? message.value.changes.map(({ kind }) => kind) : [],
      );
      expect(new Set(kinds)).toEqual(new Set([RecordKind.RECORD_KIND_ACTUAL_LRP]));
      const unknown = follow(operator(), { kinds: [99 as RecordKind] }, () => true);
      expect(await outcome(unknown)).toBe("InvalidRequest");
    });

    it("tells a cell nothing of desired LRPs, other cells, flags or locks", async () => {
      const { cell1 } = subject().as;
      for (const kind of [
        RecordKind.RECORD_KIND_DESIRED_LRP,
        RecordKind.RECORD_KIND_CELL,
        RecordKind.RECORD_KIND_FEATURE_FLAG,
        RecordKind.RECORD_KIND_LOCK,
      ]) {
        const kinds = [RecordKind.RECORD_KIND_ACTUAL_LRP, kind];
        expect(await outcome(follow(cell1, { cellId: "cell-1", kinds }, () => true)), String(kind)).toBe("PermissionDenied");
      }
    });

    it("with nothing to say makes a progress mark to resume from", async () => {
      const kinds = [RecordKind.RECORD_KIND_LOCK];
      const said = await follow(operator(), { kinds }, (message) => message.$case === "progress");
      expect(said.map((message) => message.$case)).toEqual(["synced", "progress"]);
    });
  });
}
