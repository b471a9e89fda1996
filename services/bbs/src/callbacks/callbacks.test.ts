// Completion callbacks against real HTTP and HTTPS receivers: what they are told, and what becomes of the task by their answer.
import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo } from "node:net";
import type { TLSSocket } from "node:tls";
import { RepairOutcome } from "@muster/proto/muster/v1/repair";
import { fakeClock, seededEntropy, systemClock } from "@muster/shared/clock";
import { BbsError } from "@muster/shared/errors";
import { silentLog } from "@muster/shared/log";
import { asCellId, asEpochMs, asEpochNs, asTaskGuid, epochMsToNs, put, type Task, type TaskGuid } from "@muster/shared/model";
import { t0, task } from "@muster/shared/testing";
import { createAuthority, issueCertificate, type TlsMaterial } from "@muster/shared/tls";
import { memoryStore, openMemoryStore } from "@muster/store/memory";
import { afterEach, beforeAll, describe, expect, it } from "vitest";
import { ActiveBbs } from "../active/active-bbs.js";
import { OwnCalls } from "../api/own-calls.js";
import { completeTask } from "../core/task.js";
import { callbackBody, callbackUrl, judgeAttempt } from "./message.js";
import { httpPoster } from "./post.js";

const guid = asTaskGuid("t");
const cellId = asCellId("cell-1");
const nothing = { ca: Buffer.alloc(0), cert: Buffer.alloc(0), key: Buffer.alloc(0) };
const release: (() => void | Promise<void>)[] = [];
afterEach(async () => {
  for (const free of release.splice(0).reverse()) await free();
});

interface Receiver {
  readonly url: string;
  readonly heard: { readonly body: string; readonly type: string | undefined; readonly peer: string | undefined }[];
}

/** A receiver on this machine; `answer` is given the number of the request, from 1. */
async function receiver(
  answer: (number: number, response: ServerResponse, request: IncomingMessage) => void,
  tls?: TlsMaterial,
): Promise<Receiver> {
  const heard: Receiver["heard"] = [];
  const listener: RequestListener = (request, response) => {
    let body = "";
    request.on("data", (chunk: Buffer) => {
      body += chunk.toString();
    });
    request.on("end", () => {
      const peer = tls === undefined ? undefined : (request.socket as TLSSocket).getPeerCertificate().subject?.CN;
      heard.push({ body, type: request.headers["content-type"], peer: Array.isArray(peer) ? peer[0] : peer });
      answer(heard.length, response, request);
    });
  };
  const server: Server = tls === undefined ? createServer(listener) : createTlsServer({ ...tls, requestCert: true }, listener);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  release.push(() => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(() => resolve()));
  });
  const { port } = server.address() as AddressInfo;
  return { url: `${tls === undefined ? "http" : "https"}://127.0.0.1:${port}/done`, heard };
}

const status =
  (...codes: number[]) =>
  (number: number, response: ServerResponse): void => {
    response.writeHead(codes[number - 1] ?? codes.at(-1) ?? 200).end("thanks");
  };

interface Options {
  readonly tls?: TlsMaterial;
  readonly workers?: number;
  readonly timeoutMs?: number;
  /** Held before anything else happens. */
  readonly inherited?: readonly Task[];
}

/** An active BBS with callback workers, on real time. */
async function bbsWith({ tls = nothing, workers = 10, timeoutMs = 5_000, inherited = [] }: Options = {}) {
  const store = await openMemoryStore(memoryStore(systemClock), { clock: systemClock, faults: {} });
  const leadership = await store.campaign("bbs", "one", 10_000, new AbortController().signal);
  const active = await ActiveBbs.start({
    store,
    leadership,
    clock: systemClock,
    entropy: seededEntropy("one"),
    log: silentLog(),
    secrets: { seal: (bytes) => bytes, open: (bytes) => bytes },
    metrics: { committed: () => undefined, resent: () => undefined },
    presenceTtlMs: 5_000,
    callbacks: { post: httpPoster(tls), workers, timeoutMs },
    onLost: () => undefined,
  });
  release.push(() => active.close(new BbsError("Unavailable")));
  for (const one of inherited) await active.journal.submit(() => ({ writes: [put("task", one)], reply: undefined }));
  return active;
}

const running = (url: string, fields: Partial<Task> = {}): Task =>
  task({ state: "RUNNING", cellId, completionCallbackUrl: url, ...fields });

const complete = (active: ActiveBbs, taskGuid: TaskGuid = guid): Promise<void> =>
  active.journal.submit(completeTask({ taskGuid, cellId, failed: false, failureReason: "", result: "r" }));

const stateOf = (active: ActiveBbs, taskGuid: TaskGuid = guid): string => active.state.tables.task(taskGuid)?.state ?? "gone";

/** Waits, on commits and answers, until it holds. */
async function until(holds: () => boolean): Promise<void> {
  const deadline = systemClock.elapsedMs() + 5_000;
  while (!holds()) {
    if (systemClock.elapsedMs() > deadline) throw new Error("it did not come to hold within 5 s");
    await new Promise((resolve) => setImmediate(resolve));
  }
}

describe("a completed task's callback", () => {
  it("tells the outcome as Diego's JSON, and the task goes", async () => {
    const { url, heard } = await receiver(status(200));
    const createdAtNs = asEpochNs(1_700_000_000_123_456_789n);
    const active = await bbsWith({ inherited: [running(url, { annotation: "note", createdAtNs })] });
    await complete(active);
    await until(() => stateOf(active) === "gone");
    expect(heard).toHaveLength(1);
    expect(heard[0]?.type).toBe("application/json");
    expect(heard[0]?.body).toBe(
      '{"task_guid":"t","failed":false,"failure_reason":"","result":"r","annotation":"note","created_at":1700000000123456789}',
    );
  });

  it("is not made without a URL, nor to one that is not http or https", async () => {
    const active = await bbsWith({ inherited: [running("", {}), running("file:///etc/passwd", { taskGuid: asTaskGuid("u") })] });
    await complete(active);
    await complete(active, asTaskGuid("u"));
    expect([stateOf(active), stateOf(active, asTaskGuid("u"))]).toEqual(["COMPLETED", "COMPLETED"]);
  });

  it.each([
    { answers: [204], tries: 1 },
    { answers: [404], tries: 1 },
    { answers: [500], tries: 1 },
    { answers: [503, 200], tries: 2 },
    { answers: [504, 503, 200], tries: 3 },
  ])("answered with $answers is delivered after $tries tries", async ({ answers, tries }) => {
    const { url, heard } = await receiver(status(...answers));
    const active = await bbsWith({ inherited: [running(url)] });
    await complete(active);
    await until(() => stateOf(active) === "gone");
    expect(heard).toHaveLength(tries);
  });

  it("answered with a redirection goes nowhere else, and counts as delivered", async () => {
    const other = await receiver(status(200));
    const { url, heard } = await receiver((_number, response) => response.writeHead(307, { location: other.url }).end());
    const active = await bbsWith({ inherited: [running(url)] });
    await complete(active);
    await until(() => stateOf(active) === "gone");
    expect([heard.length, other.heard.length]).toEqual([1, 0]);
  });

  it("that nobody can take leaves the task RESOLVING, after three tries", async () => {
    const { url, heard } = await receiver(status(503));
    const active = await bbsWith({ inherited: [running(url)] });
    await complete(active);
    await until(() => heard.length === 3);
    expect(stateOf(active)).toBe("RESOLVING");
  });

  it("whose receiver hangs is tried again after the time-out; one that hangs up is too", async () => {
    const { url, heard } = await receiver((number, response, request) => {
      if (number === 2) request.socket.destroy();
      if (number === 3) response.writeHead(200).end();
    });
    const active = await bbsWith({ inherited: [running(url)], timeoutMs: 100 });
    await complete(active);
    await until(() => stateOf(active) === "gone");
    expect(heard).toHaveLength(3);
  });

  it("to a port where nobody listens is not tried again", async () => {
    const { url } = await receiver(status(200));
    await release.pop()?.();
    const active = await bbsWith({ inherited: [running(url)] });
    await complete(active);
    await until(() => stateOf(active) === "RESOLVING");
  });

  it("whose answer has no end is not read to the end", async () => {
    const { url } = await receiver((_number, response) => {
      const pour = (): void => {
        while (!response.destroyed && response.write("x".repeat(65_536)));
      };
      response.writeHead(200);
      response.on("drain", pour);
      response.on("error", () => undefined);
      pour();
    });
    const active = await bbsWith({ inherited: [running(url)] });
    await complete(active);
    await until(() => stateOf(active) === "gone");
  });

  it("is made by no more workers at once than there are", async () => {
    const waiting: ServerResponse[] = [];
    const { url, heard } = await receiver((_number, response) => waiting.push(response));
    const guids = Array.from({ length: 5 }, (_, at) => asTaskGuid(`t${at}`));
    const active = await bbsWith({ inherited: guids.map((taskGuid) => running(url, { taskGuid })), workers: 2 });
    const states = (): string[] => [...active.state.tables.tasks.values()].map(({ state }) => state).sort();
    await Promise.all(guids.map((taskGuid) => complete(active, taskGuid)));
    await active.journal.drained();
    expect(states()).toEqual(["COMPLETED", "COMPLETED", "COMPLETED", "RESOLVING", "RESOLVING"]);
    for (const _ of guids) {
      await until(() => waiting.length > 0);
      waiting.shift()?.writeHead(200).end();
    }
    await until(() => active.state.tables.tasks.size === 0);
    expect(heard).toHaveLength(5);
  });

  it("is made again once the task is COMPLETED again", async () => {
    const { url, heard } = await receiver(status(503, 503, 503, 200));
    const active = await bbsWith({ inherited: [running(url)] });
    await complete(active);
    await until(() => heard.length === 3);
    // As the rule "task-unresolved" leaves it.
    const resolving = active.state.tables.task(guid) as Task;
    await active.journal.submit(() => ({ writes: [put("task", { ...resolving, state: "COMPLETED" })], reply: undefined }));
    await until(() => stateOf(active) === "gone");
    expect(heard).toHaveLength(4);
  });
});

describe("over HTTPS", () => {
  let bbs: TlsMaterial;
  let server: TlsMaterial;
  let stranger: TlsMaterial;
  beforeAll(async () => {
    const material = async (authority: Awaited<ReturnType<typeof createAuthority>>, name: string): Promise<TlsMaterial> => {
      const issued = await issueCertificate(authority, name, { nowMs: systemClock.nowMs() });
      return {
        ca: Buffer.from(authority.certificatePem),
        cert: Buffer.from(issued.certificatePem),
        key: Buffer.from(issued.keyPem),
      };
    };
    const authority = await createAuthority("test", systemClock.nowMs());
    bbs = await material(authority, "bbs");
    server = await material(authority, "controller");
    stranger = await material(await createAuthority("other", systemClock.nowMs()), "controller");
  });

  it("the BBS shows its own certificate", async () => {
    const { url, heard } = await receiver(status(200), server);
    const active = await bbsWith({ inherited: [running(url)], tls: bbs });
    await complete(active);
    await until(() => stateOf(active) === "gone");
    expect(heard[0]?.peer).toBe("bbs");
  });

  it("a receiver of another authority hears nothing", async () => {
    const { url, heard } = await receiver(status(200), stranger);
    const active = await bbsWith({ inherited: [running(url)], tls: bbs });
    await complete(active);
    await until(() => stateOf(active) === "RESOLVING");
    expect(heard).toEqual([]);
  });
});

describe("callbacks that are owed", () => {
  const owed = task({
    state: "COMPLETED",
    firstCompletedAtNs: epochMsToNs(t0),
    updatedAtNs: epochMsToNs(t0),
    completionCallbackUrl: "http://127.0.0.1:1/",
  });

  /** Leaders one after the other on one store and a clock of their own; each answers every callback with its status. */
  function leaders() {
    const clock = fakeClock();
    const world = memoryStore(clock);
    const posted: string[] = [];
    const lead = async (owner: string, answers: number | undefined): Promise<ActiveBbs> => {
      const store = await openMemoryStore(world, { clock, faults: {} });
      const leadership = await store.campaign("bbs", owner, 10_000, new AbortController().signal);
      const post = async (): Promise<number> => {
        posted.push(owner);
        return answers ?? 0;
      };
      const active = await ActiveBbs.start({
        store,
        leadership,
        clock,
        entropy: seededEntropy(owner),
        log: silentLog(),
        secrets: { seal: (bytes) => bytes, open: (bytes) => bytes },
        metrics: { committed: () => undefined, resent: () => undefined },
        presenceTtlMs: 5_000,
        callbacks: answers === undefined ? undefined : { post, workers: 1, timeoutMs: 1_000 },
        onLost: () => undefined,
      });
      release.push(async () => {
        active.close(new BbsError("Unavailable"));
        await leadership.resign();
      });
      return active;
    };
    return { clock, posted, lead };
  }

  it("by a former leader are made by the next at once", async () => {
    const { posted, lead } = leaders();
    const first = await lead("one", undefined);
    await first.journal.submit(() => ({ writes: [put("task", owed)], reply: undefined }));
    await release.pop()?.();
    const second = await lead("two", 200);
    await until(() => stateOf(second) === "gone");
    expect(posted).toEqual(["two"]);
  });

  it("are made again by convergence: demoted after 30 s, and asked for where nobody took them", async () => {
    const { clock, posted, lead } = leaders();
    const active = await lead("one", 503);
    const repair = async (rule: string): Promise<RepairOutcome | undefined> =>
      (await new OwnCalls(active).repair([{ rule, processGuid: "", index: 0, presence: 0, name: "t" }]))[0]?.outcome;
    await active.journal.submit(() => ({ writes: [put("task", owed)], reply: undefined }));
    await until(() => posted.length === 3);
    expect([stateOf(active), await repair("task-unresolved")]).toEqual(["RESOLVING", RepairOutcome.REPAIR_OUTCOME_NOT_DUE]);
    await clock.advance(30_000);
    expect(await repair("task-unresolved")).toBe(RepairOutcome.REPAIR_OUTCOME_DONE);
    await until(() => posted.length === 6);
    // Nobody took it up: as after a full queue.
    active.state.tables.apply(put("task", owed));
    expect(await repair("task-callback")).toBe(RepairOutcome.REPAIR_OUTCOME_DONE);
    await until(() => posted.length === 9);
  });
});

describe("the words of a callback", () => {
  it("have no annotation when there is none", () => {
    const body = callbackBody(task({ createdAtNs: epochMsToNs(asEpochMs(5)), failed: true, failureReason: 'say "why"' }));
    expect(body).toBe('{"task_guid":"t","failed":true,"failure_reason":"say \\"why\\"","result":"","created_at":5000000}');
    expect(JSON.parse(body)).toMatchObject({ failure_reason: 'say "why"' });
  });

  it.each([
    { url: "http://a/b", goes: true },
    { url: "HTTPS://a/b", goes: true },
    { url: "ftp://a/b", goes: false },
    { url: "file:///a", goes: false },
    { url: "/a", goes: false },
    { url: "", goes: false },
  ])("go to $url: $goes", ({ url, goes }) => {
    expect(callbackUrl({ completionCallbackUrl: url }) !== undefined).toBe(goes);
  });

  it.each([
    { attempt: { failure: "timeout" as const }, verdict: "again" },
    { attempt: { failure: "closed" as const }, verdict: "again" },
    { attempt: { failure: "other" as const }, verdict: "given-up" },
    { attempt: { status: 502 }, verdict: "delivered" },
  ])("$attempt means $verdict", ({ attempt, verdict }) => {
    expect(judgeAttempt(attempt)).toBe(verdict);
  });
});
