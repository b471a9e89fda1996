// A client with a script drawn from the seed: it desires, scales, removes and retires LRPs, switches the flag, vouches for the domain,
// one call at a time for each process, and keeps in its ledger what it was told.
import { DesiredLRP, DesiredLRP_UpdateStrategy, DesiredLRPUpdate } from "@muster/proto/models/desired_lrp";
import { isBbsError } from "@muster/shared/errors";
import { type Ask, absent, Ledger, type Outcome } from "./ledger.js";
import { SimProcess } from "./process.js";
import type { Stage } from "./stage.js";

export const domain = "sim";
/** Wants a root file system that no cell offers. */
export const unplaceable = "p-nowhere";
/** Its one instance dies a few seconds after each start, for ever. */
export const crashing = "p-crashing";

/** Wants more instances than one command writes rows (rule S4). */
const many = "p-many";
const mostInstances = { [many]: 130, others: 5 };
const domainTtlSeconds = 60;
const domainEveryMs = 15_000;
const longestOffMs = 15_000;

export interface ClientOptions {
  readonly processes: number;
  /** Whether one more process wants more than a hundred instances. */
  readonly many: boolean;
  /** Chance of one thing to do at each tick. */
  readonly busy: number;
  /** What the flag is to be when the client has come to rest. */
  readonly flagAtEnd: boolean;
}

export class SimClient {
  readonly ledger = new Ledger(false);
  readonly process: SimProcess;
  readonly counts: Record<string, number> = {};
  readonly #stage: Stage;
  readonly #options: ClientOptions;
  readonly #busy = new Set<string>();
  #domainAtMs = 0;
  #flagOnAtMs = 0;
  #flapUntilMs = 0;
  #quiet = false;

  constructor(stage: Stage, options: ClientOptions) {
    this.#stage = stage;
    this.#options = options;
    this.process = new SimProcess(stage.clock, "client", "client");
  }

  /** Whether no call is under way, and none is to come that changes anything. */
  get idle(): boolean {
    return this.#quiet && this.#busy.size === 0 && this.#flagIs(this.#options.flagAtEnd);
  }

  #flagIs(enabled: boolean): boolean {
    const { flags } = this.ledger;
    return flags.size === 1 && flags.has(enabled);
  }

  /** Somebody switches the flag off and on as fast as he is answered. */
  flap(forMs: number): boolean {
    this.#flapUntilMs = this.#stage.clock.elapsedMs() + forMs;
    return !this.#quiet;
  }

  /** From now on it only vouches for its domain, and sees to it that the flag is what it is to be. */
  quieten(): void {
    this.#quiet = true;
    this.#domainAtMs = 0;
  }

  /** Does what the script has for this tick. */
  tick(): void {
    const { clock, dice } = this.#stage;
    this.#vouch(clock.elapsedMs());
    const on = this.#flagIs(true);
    if (on && this.ledger.possible(crashing).has(absent) && !this.#busy.has(crashing))
      this.#ask(crashing, { do: "desire", instances: 1 });
    const flapping = !this.#quiet && clock.elapsedMs() < this.#flapUntilMs;
    const wished = this.#quiet ? this.#options.flagAtEnd : true;
    if (flapping) this.#setFlag(!on);
    else if (!this.#flagIs(wished) && (this.#quiet || clock.elapsedMs() >= this.#flagOnAtMs)) this.#setFlag(wished);
    if (this.#quiet || dice.stream("client").below(1_000) >= this.#options.busy * 1_000) return;
    const drawn = dice.stream("what").below(100);
    if (drawn < 2 && on) {
      this.#flagOnAtMs = clock.elapsedMs() + dice.between("off", 1_000, longestOffMs);
      this.#setFlag(false);
    } else if (drawn < 3) this.#domainAtMs = clock.elapsedMs() + 2 * 1_000 * domainTtlSeconds;
    else this.#change(this.#anyProcess());
  }

  #anyProcess(): string {
    const { processes, many: withMany } = this.#options;
    const n = this.#stage.dice.stream("process").below(processes + 1);
    if (withMany && n === 0) return many;
    return n === processes ? unplaceable : `p-${n}`;
  }

  /** Without a word from us the domain goes stale, now and then on purpose. */
  #vouch(nowMs: number): void {
    if (nowMs < this.#domainAtMs || this.#busy.has("domain")) return;
    const request = { domain, ttl: domainTtlSeconds };
    this.#make(
      "domain",
      "upsert-domain",
      ({ calls }) => calls.upsertDomain(request),
      (outcome) => {
        const retry = outcome === "done" ? domainEveryMs : 1_000;
        this.#domainAtMs = Math.max(this.#domainAtMs, this.#stage.clock.elapsedMs() + retry);
      },
    );
  }

  #setFlag(enabled: boolean): void {
    if (this.#busy.has("flag")) return;
    this.ledger.askedFlag(enabled);
    const flag = { name: "diego_docker", enabled };
    this.#make(
      "flag",
      enabled ? "flag-on" : "flag-off",
      ({ own }) => own.setFeatureFlag(flag),
      (outcome) => this.ledger.answeredFlag(outcome),
    );
  }

  #change(processGuid: string): void {
    if (this.#busy.has(processGuid)) return;
    const { dice } = this.#stage;
    const wishes = [...this.ledger.possible(processGuid)];
    const drawn = dice.stream("change").below(100);
    const most = processGuid === many ? mostInstances[many] : mostInstances.others;
    const instances = dice.stream("instances").below(most + 1);
    if (wishes.includes(absent)) this.#ask(processGuid, { do: "desire", instances });
    else if (drawn < 50) this.#ask(processGuid, { do: "scale", instances });
    else if (drawn < 70) this.#ask(processGuid, { do: "remove" });
    else this.#retire(processGuid, dice.stream("index").below(most));
  }

  #ask(processGuid: string, ask: Ask): void {
    this.ledger.asked(processGuid, ask);
    this.#make(
      processGuid,
      ask.do,
      ({ calls }) => carryOut(calls, processGuid, ask),
      (outcome) => {
        const wrong = this.ledger.answered(processGuid, outcome);
        if (wrong !== undefined) this.#stage.wrong(wrong);
      },
    );
  }

  #retire(processGuid: string, index: number): void {
    const request = { actualLrpKey: { processGuid, index, domain } };
    this.#make(
      processGuid,
      "retire",
      ({ calls }) => calls.retireActualLRP(request),
      () => undefined,
    );
  }

  /** Makes one call; `then` hears how it ended before the next of its kind may be made. */
  #make(busy: string, what: string, make: Parameters<Stage["door"]["call"]>[2], then: (outcome: Outcome) => void): void {
    this.#busy.add(busy);
    const ended = (outcome: Outcome): void => {
      this.#busy.delete(busy);
      this.counts[`${what}:${outcome}`] = (this.counts[`${what}:${outcome}`] ?? 0) + 1;
      this.#stage.trace.say("client", `${what} ${busy} ${outcome}`);
      then(outcome);
    };
    this.#stage.door.call(this.process, what, make).then(
      () => ended("done"),
      (error: unknown) => {
        if (isBbsError(error, "InvalidRequest")) this.#stage.wrong(`the client's own ${what} was invalid: ${error.message}`);
        ended(outcomeOf(error));
      },
    );
  }
}

export function outcomeOf(error: unknown): Outcome {
  if (isBbsError(error, "ResourceExists")) return "exists";
  if (isBbsError(error, "ResourceNotFound")) return "not-found";
  if (isBbsError(error, "InvalidStateTransition")) return "conflict";
  return isBbsError(error, "FeatureDisabled") ? "refused" : "unknown";
}

type Calls = Parameters<Parameters<Stage["door"]["call"]>[2]>[0]["calls"];

async function carryOut(calls: Calls, processGuid: string, ask: Ask): Promise<void> {
  if (ask.do === "desire") await calls.desireLRP({ desiredLrp: desired(processGuid, ask.instances) });
  else if (ask.do === "remove") await calls.removeDesiredLRP({ processGuid });
  else {
    const update = DesiredLRPUpdate.fromPartial({ optionalInstances: { $case: "instances", value: ask.instances } });
    await calls.updateDesiredLRP({ processGuid, update });
  }
}

/** Every other process has never two copies of an instance. */
const isRecreated = (processGuid: string): boolean => /[13579]$/.test(processGuid);

const desired = (processGuid: string, instances: number): DesiredLRP =>
  DesiredLRP.fromPartial({
    processGuid,
    domain,
    rootFs: processGuid === unplaceable ? "preloaded:elsewhere" : "docker:///library/app#v1",
    instances,
    memoryMb: 32,
    diskMb: 32,
    ports: [8080],
    action: { runAction: { path: "/bin/app", user: "root" } },
    checkDefinition: { checks: [{ tcpCheck: { port: 8080 } }] },
    logGuid: processGuid,
    updateStrategy: isRecreated(processGuid) ? DesiredLRP_UpdateStrategy.RECREATE : DesiredLRP_UpdateStrategy.ROLLING,
    metricTags: { source_id: { static: processGuid } },
    startTimeoutMs: 60_000n,
  });
