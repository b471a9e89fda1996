// Whether a container lives: what makes it running, what says that it is unwell, and whether it is routable (cell.md section 7).
import type { Container } from "@muster/garden";
import type { Action } from "@muster/proto/models/actions";
import type { Clock, Entropy } from "@muster/shared/clock";
import { Turnstile } from "@muster/shared/flight";
import type { InstanceGuid } from "@muster/shared/model";
import { type Check, type ContainerRecord, type RunRequest, type StartInfo, texts } from "../plan/index.js";
import type { Registry } from "../registry.js";
import {
  awaitMonitored,
  awaitStartup,
  awaitUnhealthy,
  awaitUnmonitored,
  type HealthOptions,
  type StartupResult,
  watchReadiness,
} from "./health.js";
import { runMonitor } from "./monitor.js";
import type { StepHost } from "./steps.js";
import type { Voice } from "./voice.js";

/** A container whose steps run. */
export interface Followed {
  readonly guid: InstanceGuid;
  readonly container: Container;
  readonly info: StartInfo;
  readonly host: StepHost;
  /** `undefined` for one that an earlier rep started. */
  readonly request: RunRequest | undefined;
}

export interface LifeOptions {
  readonly clock: Clock;
  readonly entropy: Entropy;
  readonly registry: Registry;
  readonly voice: Voice;
  readonly probeHttp: (container: Container, check: Check) => Promise<string | undefined>;
  /** The monitor action of a process; tries until it is known or the signal aborts. `undefined`: it has none any more. */
  readonly fetchMonitor: (processGuid: string, signal: AbortSignal) => Promise<Action | undefined>;
  /** Writes the container's record down as it now is. */
  readonly save: (guid: InstanceGuid) => void;
}

/** What says whether a container lives: checks, or a monitor action. */
interface Liveness {
  /** False: nothing is asked, it lives as long as its steps do. */
  readonly any: boolean;
  startup(): Promise<StartupResult | undefined>;
  failure(): Promise<string | undefined>;
}

const checked = ({ checks, startTimeoutMs }: StartInfo, options: HealthOptions): Liveness => ({
  any: checks.length > 0,
  startup: () => awaitStartup(options, checks, startTimeoutMs),
  failure: () => awaitUnhealthy(options, checks),
});

/** Source: cell.md section 5, pools. */
const parallelMonitors = 64;

export class Life {
  readonly #options: LifeOptions;
  readonly #monitorSlots = new Turnstile(parallelMonitors);

  constructor(options: LifeOptions) {
    this.#options = options;
  }

  /** Makes the container running once it is healthy. Resolves to the crash reason when it never is, or no longer. */
  async watch(followed: Followed, ready: Promise<void>, signal: AbortSignal): Promise<string> {
    const { guid, container, info } = followed;
    const { registry, clock, voice, save } = this.#options;
    const never = new Promise<string>(() => undefined);
    await ready;
    const record = registry.get(guid);
    if (record === undefined || signal.aborted) return never;
    const options: HealthOptions = { clock, signal, probe: (check) => this.#probe(container, check) };
    const liveness = info.monitored ? await this.#monitored(followed, options) : checked(info, options);
    if (liveness === undefined) return never;
    if (record.state !== "running") {
      if (liveness.any) voice.say(record, texts.monitoring);
      const result = await liveness.startup();
      if (result === undefined) return never;
      if (!result.ok) {
        if (!info.monitored) voice.sayHealth(record, result.text);
        const neverPassed = info.monitored ? texts.monitorNeverPassed : texts.startupNeverPassed;
        voice.say(record, neverPassed(result.afterMs), "stderr");
        return texts.neverHealthy(result.afterMs, result.text);
      }
      if (liveness.any) voice.say(record, texts.healthy);
      const routable = info.readinessChecks.length === 0;
      registry.updateIf(guid, ["created"], (now) => ({ ...now, state: "running", routable }));
      save(guid);
    }
    if (info.readinessChecks.length > 0) this.#startReadiness(guid, record, options);
    if (!liveness.any) return never;
    const text = await liveness.failure();
    if (text === undefined) return never;
    if (!info.monitored) voice.sayHealth(record, text);
    voice.say(record, texts.unhealthy, "stderr");
    return texts.becameUnhealthy(text);
  }

  /** The legacy monitor action. After a restart it has to be fetched again; `undefined` when the signal aborts first. */
  async #monitored({ guid, container, host, request }: Followed, options: HealthOptions): Promise<Liveness | undefined> {
    const { registry, entropy, fetchMonitor } = this.#options;
    const { signal } = options;
    const key = registry.get(guid)?.key;
    const action = request?.monitor ?? (key === undefined ? undefined : await fetchMonitor(key.processGuid, signal));
    const startTimeoutMs = registry.get(guid)?.startInfo?.startTimeoutMs ?? 0;
    if (action === undefined || signal.aborted) return undefined;
    const monitor = (): Promise<string | undefined> =>
      this.#monitorSlots
        .run(signal, () => runMonitor({ container, action, id: `monitor-${entropy.guid()}`, host, signal }))
        .catch((error: unknown) => messageOf(error));
    return {
      any: true,
      startup: () => awaitMonitored(options, monitor, startTimeoutMs),
      failure: () => awaitUnmonitored(options, monitor),
    };
  }

  #startReadiness(guid: InstanceGuid, record: ContainerRecord, options: HealthOptions): void {
    const { voice, registry, save } = this.#options;
    voice.sayHealth(record, texts.readinessStarted, "stdout");
    const onChange = (routable: boolean, text: string): void => {
      if (text !== "") voice.sayHealth(record, text);
      voice.sayHealth(record, routable ? texts.ready : texts.notReady, "stdout");
      registry.updateIf(guid, ["running"], (now) => ({ ...now, routable }));
      save(guid);
    };
    const ready = registry.get(guid)?.routable === true;
    void watchReadiness(options, { checks: record.startInfo?.readinessChecks ?? [], ready, onChange });
  }

  #probe(container: Container, check: Check): Promise<string | undefined> {
    return check.kind === "tcp" ? container.probeTcp(check.port, check.timeoutMs) : this.#options.probeHttp(container, check);
  }
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
