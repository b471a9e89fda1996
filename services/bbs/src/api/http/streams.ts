// Diego's six event streams as server-sent events (bbs-wire.md A.5).
import type { IncomingMessage, ServerResponse } from "node:http";
import { EventsByCellId } from "@muster/proto/models/events";
import { systemClock } from "@muster/shared/clock";
import { BbsError } from "@muster/shared/errors";
import { decodeRequest, type ServeOptions } from "@muster/shared/rpc";
import type { Peer } from "@muster/shared/tls";
import type { EventHubs, HubName, Subscription } from "../../events/hub.js";
import type { Showing } from "../../events/message.js";
import { desiredLRPToV0, taskToV2 } from "../downgrade.js";
import { authorize, type CallName } from "../roles.js";
import { readBody } from "./body.js";
import { drained } from "./lists.js";

export interface StreamRoute {
  readonly method: "GET" | "POST";
  readonly call: CallName;
  readonly hubs: readonly HubName[];
  /** r0: definitions are shown as Diego's oldest clients know them. */
  readonly version: "r0" | "r1";
  /** Whether the body names a cell; else it is ignored. */
  readonly byCell: boolean;
}

const groups = { method: "GET", call: "LRPGroupEvents", hubs: ["desired", "group"], byCell: true } as const;
const instances = { method: "POST", call: "LRPInstanceEvents", hubs: ["desired", "instance"], byCell: true } as const;
const tasks = { method: "POST", call: "TaskEvents", hubs: ["task"], byCell: false } as const;

export const streamRoutes: ReadonlyMap<string, StreamRoute> = new Map<string, StreamRoute>([
  ["/v1/events.r1", { ...groups, version: "r1" }],
  ["/v1/events", { ...groups, version: "r0" }],
  ["/v1/events/lrp_instances.r1", { ...instances, version: "r1" }],
  ["/v1/events/lrp_instances", { ...instances, version: "r0" }],
  ["/v1/events/tasks.r1", { ...tasks, version: "r1" }],
  ["/v1/events/tasks", { ...tasks, version: "r0" }],
]);

/** More streams than this are refused with 503, upon which Diego's clients try again. */
const maxStreams = 1_000;
/** After the end of a stream its client has so long to take what was pending. */
const lingerMs = 30_000;
/** So much is made and written before other work gets its turn: some hundred events, or a few with large definitions. */
const turnBytes = 256 * 1024;
/** A connection may have so much on its way before its stream waits: enough for what is told in one turn. */
const maxUnsentBytes = 512 * 1024;

const headers = {
  "content-type": "text/event-stream; charset=utf-8",
  "cache-control": "no-cache, no-store, must-revalidate",
  connection: "keep-alive",
};

/** Serves streams from these hubs; every event is made a message once for all streams that show it alike. */
export class EventStreams {
  readonly #hubs: EventHubs;
  readonly #serve: ServeOptions;
  readonly #showings: Readonly<Record<StreamRoute["version"], Showing>>;

  constructor(hubs: EventHubs, serve: ServeOptions) {
    this.#hubs = hubs;
    this.#serve = serve;
    const open = hubs.open;
    this.#showings = {
      r1: { open, desired: (desired) => desired, task: (task) => task },
      r0: { open, desired: desiredLRPToV0, task: taskToV2 },
    };
  }

  /** Answers one subscriber until either side ends it. `peer` throws for a certificate without a role. */
  async answer(route: StreamRoute, request: IncomingMessage, response: ServerResponse, peer: () => Peer): Promise<void> {
    const startedMs = this.#serve.elapsedMs();
    const finish = (code: string): void => this.#serve.observe?.(route.call, code, this.#serve.elapsedMs() - startedMs);
    let subscription: Subscription;
    try {
      subscription = await this.#subscribe(route, request, peer);
    } catch (error) {
      const code = error instanceof BbsError ? error.code : "UnknownError";
      finish(code);
      response.writeHead(refusalStatus[code] ?? 500, { "content-length": 0 }).end();
      return;
    }
    response.once("close", () => subscription.end("closed"));
    // Silence is no fault of a stream.
    request.socket.setTimeout(0);
    response.writeHead(200, headers);
    response.flushHeaders();
    const cancelLinger = linger(subscription, response);
    await this.#write(subscription, response, this.#showings[route.version]);
    cancelLinger();
    if (subscription.over === "slow") this.#serve.log.warn({ step: route.call }, "event stream ended: its reader is slow");
    finish(subscription.over === "slow" ? "ResourceExhausted" : "ok");
    // Diego closes the connection behind a stream.
    if (!response.destroyed) response.end(() => request.socket.destroySoon());
  }

  async #subscribe(route: StreamRoute, request: IncomingMessage, peer: () => Peer): Promise<Subscription> {
    const body = await readBody(request);
    authorize(peer(), route.call);
    const cellId = route.byCell ? decodeRequest(EventsByCellId, body).cellId : "";
    if (this.#hubs.subscriptions >= maxStreams) throw new BbsError("ResourceExhausted", "too many event streams");
    return this.#hubs.subscribe(route.hubs, cellId);
  }

  async #write(subscription: Subscription, response: ServerResponse, showing: Showing): Promise<void> {
    let id = 0;
    while (!response.destroyed && (await subscription.more())) {
      let frames = "";
      // What waits leaves in one write: each costs more than the events in it.
      for (let event = subscription.take(); event !== undefined; event = subscription.take()) {
        const message = event.message(showing);
        if (message === undefined) continue;
        frames += `id: ${id}\nevent: ${message.name}\ndata: ${message.data}\n\n`;
        id += 1;
        if (frames.length >= turnBytes) break;
      }
      if (frames !== "" && !response.write(frames, "latin1") && response.writableLength > maxUnsentBytes) await drained(response);
      if (frames.length >= turnBytes) await new Promise((resolve) => setImmediate(resolve));
    }
  }
}

const refusalStatus: Readonly<Record<string, number>> = { PermissionDenied: 403, ResourceExhausted: 503 };

/** Cuts a client that does not take the rest of an ended stream. */
function linger(subscription: Subscription, response: ServerResponse): () => void {
  let cancel: (() => void) | undefined;
  subscription.whenOver(() => {
    cancel = systemClock.after(lingerMs, () => response.destroy());
  });
  return () => cancel?.();
}
