// A router in small, as platforms have one: it follows the BBS's rows through the watch, and sends each request to a routable instance.
import { get } from "node:http";
import { WatchServiceClient } from "@muster/proto/muster/v1/watch";
import { systemClock } from "@muster/shared/clock";
import { silentLog } from "@muster/shared/log";
import { Mirror } from "@muster/shared/mirror";
import type { ActualLRP } from "@muster/shared/model";
import { dial, serverStream } from "@muster/shared/rpc";
import { homeClient } from "./home-client.js";

export interface Backend {
  readonly instanceGuid: string;
  readonly index: number;
  readonly cellId: string;
  readonly address: string;
  readonly port: number;
}

/** `refused`: no try reached an instance. `cut`: an instance went away before it had answered. `silent`: it did not answer in time. */
export type Outcome = "ok" | "refused" | "cut" | "silent" | "no-backend";

export interface Answer {
  readonly outcome: Outcome;
  /** Of the last try. */
  readonly backend: Backend | undefined;
  /** Instances that refused the connection before: nothing was sent to them. */
  readonly refusals: number;
}

/** As Diego's router: a connection that was refused is tried on another instance, three in all; what was sent is not sent again. */
const tries = 3;
/** More than a busy machine takes. */
const answerMs = 10_000;

export class Router implements AsyncDisposable {
  readonly mirror: Mirror;
  readonly #containerPort: number;
  readonly #stop = new AbortController();
  readonly #client: InstanceType<typeof WatchServiceClient>;
  readonly #backends = new Map<string, Backend>();
  #running: Promise<void> = Promise.resolve();
  #next = 0;
  #fewest = 0;

  private constructor(client: InstanceType<typeof WatchServiceClient>, containerPort: number) {
    this.#client = client;
    this.#containerPort = containerPort;
    this.mirror = new Mirror({
      open: (request, signal) => serverStream(client.watch.bind(client), request, { signal }),
      kinds: ["actualLRP"],
      clock: systemClock,
      log: silentLog(),
    });
    this.mirror.onChanges(() => this.#look());
  }

  /** Follows the platform of a home folder; resolves once it knows every instance there is. */
  static async follow(home: string, containerPort = 8080): Promise<Router> {
    const { addresses, tls } = homeClient(home);
    const router = new Router(dial(WatchServiceClient, addresses, tls), containerPort);
    router.#running = router.mirror.run(router.#stop.signal);
    await router.mirror.whenSynced();
    return router;
  }

  get backends(): readonly Backend[] {
    return [...this.#backends.values()];
  }

  /** How many different indices could be reached when there were fewest of them, since this was last asked. */
  fewestRoutable(): number {
    const fewest = this.#fewest;
    this.#fewest = this.#indices();
    return fewest;
  }

  /** GETs `/` from the next instance in turn. */
  async request(): Promise<Answer> {
    let refusals = 0;
    for (;;) {
      const backend = this.#pick();
      if (backend === undefined) return { outcome: "no-backend", backend, refusals };
      const outcome = await ask(backend);
      if (outcome !== "refused" || refusals === tries - 1) return { outcome, backend, refusals };
      refusals += 1;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#running;
    this.#client.close();
  }

  #pick(): Backend | undefined {
    const all = this.backends;
    this.#next = (this.#next + 1) % Math.max(1, all.length);
    return all[this.#next];
  }

  #indices(): number {
    return new Set(this.backends.map(({ index }) => index)).size;
  }

  #look(): void {
    this.#backends.clear();
    for (const row of this.mirror.tables.actualLRPs.values()) {
      const backend = backendOf(row, this.#containerPort);
      if (backend !== undefined) this.#backends.set(backend.instanceGuid, backend);
    }
    this.#fewest = Math.min(this.#fewest, this.#indices());
  }
}

/** Whatever its presence: an instance on a cell that is being emptied, or that nobody hears of, may still answer. */
function backendOf({ state, routable, instanceKey, netInfo, index }: ActualLRP, containerPort: number): Backend | undefined {
  const port = netInfo?.ports.find((each) => each.containerPort === containerPort)?.hostPort;
  if (state !== "RUNNING" || !routable || instanceKey === undefined || netInfo === undefined || port === undefined)
    return undefined;
  const { instanceGuid, cellId } = instanceKey;
  return { instanceGuid, cellId, index, address: netInfo.address, port };
}

/** On a connection of its own. */
function ask({ address, port }: Backend): Promise<Outcome> {
  return new Promise((resolve) => {
    const request = get({ host: address, port, path: "/", agent: false, timeout: answerMs }, (response) => {
      response.on("error", () => resolve("cut"));
      response.on("close", () => resolve(response.complete ? "ok" : "cut"));
      response.resume();
    });
    request.on("timeout", () => {
      resolve("silent");
      request.destroy();
    });
    request.on("error", (error) => resolve((error as NodeJS.ErrnoException).code === "ECONNREFUSED" ? "refused" : "cut"));
  });
}

export interface LoadResult {
  readonly requests: number;
  readonly ok: number;
  /** Requests that were answered, or not, after other instances had refused the connection. */
  readonly redialled: number;
  /** Of the requests that failed: how, and where the last try went. */
  readonly failures: readonly { readonly outcome: Outcome; readonly cellId: string; readonly atMs: number }[];
}

/** Requests at a steady rate, whether or not the ones before were answered. `atMs` of failures is wall time. */
export class RequestLoad {
  readonly #router: Router;
  readonly #answers: Promise<void>[] = [];
  readonly #failures: { outcome: Outcome; cellId: string; atMs: number }[] = [];
  readonly #timer: NodeJS.Timeout;
  readonly #begunMs = systemClock.elapsedMs();
  readonly #perSecond: number;
  #ok = 0;
  #redialled = 0;

  constructor(router: Router, perSecond: number) {
    this.#router = router;
    this.#perSecond = perSecond;
    this.#timer = setInterval(() => this.#send(), 5);
  }

  get requests(): number {
    return this.#answers.length;
  }

  /** Waits for the answers to all requests that were sent. */
  async stop(): Promise<LoadResult> {
    clearInterval(this.#timer);
    await Promise.all(this.#answers);
    return { requests: this.requests, ok: this.#ok, redialled: this.#redialled, failures: this.#failures };
  }

  #send(): void {
    const due = ((systemClock.elapsedMs() - this.#begunMs) / 1_000) * this.#perSecond;
    while (this.requests < due) this.#answers.push(this.#one());
  }

  async #one(): Promise<void> {
    const atMs = systemClock.nowMs();
    const { outcome, backend, refusals } = await this.#router.request();
    if (refusals > 0) this.#redialled += 1;
    if (outcome === "ok") this.#ok += 1;
    else this.#failures.push({ outcome, cellId: backend?.cellId ?? "", atMs });
  }
}
