// The report session: hello, inventory, batches, heartbeats, reconnects.
import type { ContainerReport, ReportItem, ReportReply, ReportRequest, ReportResponse } from "@muster/proto/muster/v1/report";
import { fakeClock, seededEntropy } from "@muster/shared/clock";
import { silentLog } from "@muster/shared/log";
import { describe, expect, it } from "vitest";
import { ReportSession } from "./session.js";

const line: ContainerReport = {
  actualLrpKey: undefined,
  actualLrpInstanceKey: undefined,
  state: 1,
  actualLrpNetInfo: undefined,
  routable: false,
  taskGuid: "",
  actualLrpInternalRoutes: [],
  metricTags: {},
};
const item = (): Omit<ReportItem, "id"> => ({
  actualLrpKey: undefined,
  actualLrpInstanceKey: undefined,
  report: { $case: "removed", value: {} },
});
const reply = (id: bigint): ReportReply => ({
  id,
  errorType: "",
  errorMessage: "",
  keepContainer: false,
  shouldStart: false,
  desiredLrp: Buffer.alloc(0),
});

/** A session whose other end is the test. */
async function world(containers = 0) {
  const clock = fakeClock();
  const sent: ReportRequest[] = [];
  const replies: bigint[] = [];
  let decided = 0;
  let closed = 0;
  let evacuating = false;
  let push: (response: ReportResponse | undefined) => void = () => undefined;
  const stop = new AbortController();
  const session = new ReportSession({
    clock,
    entropy: seededEntropy("1"),
    log: silentLog(),
    owner: "o",
    ttlMs: 5_000,
    open: () => {
      const queue: (ReportResponse | undefined)[] = [];
      let wake: () => void = () => undefined;
      push = (response) => {
        queue.push(response);
        wake();
      };
      async function* messages() {
        while (true) {
          while (queue.length > 0) {
            const next = queue.shift();
            if (next === undefined) return;
            yield next;
          }
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
        }
      }
      return { send: (message) => void sent.push(message), messages: messages(), close: () => undefined };
    },
    handler: {
      hello: () => ({ presence: { cellId: "c" } as never, evacuating }),
      inventory: async () => Array.from({ length: containers }, () => line),
      onDecided: () => {
        decided += 1;
      },
      onReply: (answered) => replies.push(answered.id),
      onClosed: () => {
        closed += 1;
      },
    },
  });
  const running = session.run(stop.signal);
  const receive = async (message: ReportResponse["message"]): Promise<void> => {
    push({ message });
    await clock.advance(0);
  };
  const welcome = { $case: "welcome", value: { leaderEpoch: 1n, incarnation: "i", clusterTimeMs: 0n } } as const;
  const open = async (): Promise<void> => {
    await receive(welcome);
    await receive({ $case: "inventoryDecided", value: {} });
  };
  const end = async (): Promise<void> => {
    stop.abort("over");
    await clock.advance(0);
    await running;
  };
  const parts = (kind: string) => sent.flatMap(({ message }) => (message?.$case === kind ? [message.value] : []));
  await clock.advance(0);
  return {
    clock,
    session,
    sent,
    replies,
    receive,
    welcome,
    open,
    end,
    parts,
    push: () => push(undefined),
    evacuate: () => {
      evacuating = true;
    },
    counts: () => ({ decided, closed }),
  };
}

describe("a report session", () => {
  it("sends an inventory in parts of at most 500, of which the last says so", async () => {
    const { parts, receive, welcome, end } = await world(1_001);
    await receive(welcome);
    expect(
      parts("inventory").map((part) => [(part as { containers: unknown[] }).containers.length, (part as { last: boolean }).last]),
    ).toEqual([
      [500, false],
      [500, false],
      [1, true],
    ]);
    await end();
  });

  it("says also of an empty cell that this is all", async () => {
    const { parts, receive, welcome, end } = await world(0);
    await receive(welcome);
    expect(parts("inventory")).toEqual([{ containers: [], last: true }]);
    await end();
  });

  it("sends at most 100 items in a message, and at most 1,000 that are unanswered", async () => {
    const { session, parts, receive, open, end } = await world();
    expect(session.room).toBe(0);
    await open();
    session.send(Array.from({ length: 1_234 }, item));
    const sizes = parts("batch").map((batch) => (batch as { items: ReportItem[] }).items.length);
    expect(sizes).toEqual(Array.from({ length: 10 }, () => 100));
    expect(session.room).toBe(0);
    await receive({ $case: "replies", value: { replies: [reply(1n), reply(2n)] } });
    expect(session.room).toBe(2);
    await end();
  });

  it("tells each answer once, also when it comes twice or to nothing asked", async () => {
    const { session, replies, receive, open, end } = await world();
    await open();
    session.send([item(), item()]);
    await receive({ $case: "replies", value: { replies: [reply(2n), reply(2n), reply(99n), reply(1n)] } });
    expect(replies).toEqual([2n, 1n]);
    await end();
  });

  it("drops what was unanswered when it breaks, and numbers go on", async () => {
    const { clock, session, replies, parts, receive, open, end, push, counts } = await world();
    await open();
    session.send([item()]);
    push();
    await clock.advance(1_000);
    expect(counts()).toEqual({ decided: 1, closed: 1 });
    await open();
    session.send([item()]);
    await receive({ $case: "replies", value: { replies: [reply(1n), reply(2n)] } });
    expect(replies).toEqual([2n]);
    expect(parts("hello")).toHaveLength(2);
    await end();
  });

  it("tells a changed presence at once", async () => {
    const { session, parts, open, end } = await world();
    session.refreshPresence();
    expect(parts("heartbeat")).toEqual([]);
    await open();
    session.refreshPresence();
    expect(parts("heartbeat")).toEqual([{ number: 1n, presence: { cellId: "c" }, evacuating: false }]);
    await end();
  });

  it("tells with its next heartbeat of an evacuation that began while it was being opened", async () => {
    const { clock, session, parts, open, evacuate, end } = await world();
    evacuate();
    session.refreshPresence();
    await open();
    await clock.advance(1_000);
    expect(parts("hello")).toMatchObject([{ evacuating: false }]);
    expect(parts("heartbeat")).toEqual([{ number: 1n, presence: undefined, evacuating: true }]);
    await end();
  });

  it("takes no second decision of one inventory", async () => {
    const { receive, open, end, counts } = await world();
    await open();
    await receive({ $case: "inventoryDecided", value: {} });
    expect(counts().decided).toBe(1);
    await end();
  });

  it("tries a BBS that is away less and less often, up to every other second", async () => {
    const { clock, parts, end, push } = await world();
    for (let second = 0; second < 60; second += 1) {
      push();
      await clock.advance(1_000);
    }
    expect(parts("hello").length).toBeGreaterThan(25);
    expect(parts("hello").length).toBeLessThan(70);
    await end();
  });
});
