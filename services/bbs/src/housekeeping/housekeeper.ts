// Keeps an eye on the store's room: looks every few seconds, says once when a level is crossed, and refuses new desires when it is scarce.
import type { Clock } from "@muster/shared/clock";
import { BbsError } from "@muster/shared/errors";
import type { Log } from "@muster/shared/log";
import type { Health } from "@muster/shared/metrics";
import type { Tables, Write } from "@muster/shared/model";
import type { StoreDriver, StoreUsage } from "@muster/store";
import { asksForMore, type SpaceLevel, shareOf, spaceLevel } from "./space.js";

/** Between two looks. At the fastest growth measured (some 20 MB/s) a store of 2 GiB moves by 2 % meanwhile. */
const lookMs = 2_000;

const percent = (share: number): string => `${Math.floor(share * 100)} %`;

export class Housekeeper {
  readonly #store: Pick<StoreDriver, "usage">;
  readonly #clock: Clock;
  readonly #log: Log;
  #usage: StoreUsage | undefined;
  #level: SpaceLevel = "ample";
  #failures = 0;
  #refused = 0;

  constructor(store: Pick<StoreDriver, "usage">, clock: Clock, log: Log) {
    this.#store = store;
    this.#clock = clock;
    this.#log = log;
  }

  /** As last seen; `undefined` before the first look. */
  get usage(): StoreUsage | undefined {
    return this.#usage;
  }

  get level(): SpaceLevel {
    return this.#level;
  }

  /** Looks that the store did not answer. */
  get failures(): number {
    return this.#failures;
  }

  /** Desires refused for want of room. */
  get refused(): number {
    return this.#refused;
  }

  /** What a person should know and do, for health; `undefined` while there is room. */
  get detail(): string | undefined {
    const usage = this.#usage;
    if (usage === undefined || this.#level === "ample") return undefined;
    if (this.#level === "closed") return `the store has raised its alarm for want of space and takes no writes: ${usage.advice}`;
    const refusing = this.#level === "scarce" ? ", new desires are refused" : "";
    return `the store is ${percent(shareOf(usage))} full${refusing}: ${usage.advice}`;
  }

  /** Looks again and again until the signal aborts; never throws. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.look(signal);
      await this.#clock.sleep(lookMs, signal).catch(() => undefined);
    }
  }

  /** Looks once. A store that does not answer is somebody else's matter: the level stays as it was seen last. */
  async look(signal: AbortSignal): Promise<void> {
    try {
      this.#usage = await this.#store.usage(signal);
    } catch (err) {
      if (signal.aborted) return;
      this.#failures += 1;
      this.#log.debug({ err, step: "usage" }, "store does not tell its size");
      return;
    }
    const before = this.#level;
    this.#level = spaceLevel(this.#usage, before);
    if (this.#level !== before) this.#tell(this.#usage);
  }

  /** For the journal, before anything is written. @throws BbsError ResourceExhausted when a desire has no room. */
  admit(tables: Pick<Tables, "get">, writes: readonly Write[]): void {
    if (this.#level !== "scarce" || !asksForMore(tables, writes)) return;
    this.#refused += 1;
    throw new BbsError("ResourceExhausted", `${this.detail}; what is desired already goes on, and removing makes room`);
  }

  #tell(usage: StoreUsage): void {
    const facts = { used_bytes: usage.usedBytes, file_bytes: usage.fileBytes, allowed_bytes: usage.allowedBytes };
    if (this.#level === "ample") this.#log.info(facts, "store has room again");
    else if (this.#level === "low") this.#log.warn({ ...facts, hint: usage.advice }, "store fills up");
    else if (this.#level === "scarce")
      this.#log.error({ ...facts, hint: usage.advice }, "store is nearly full, new desires are refused");
    else this.#log.error({ ...facts, hint: usage.advice }, "store has raised its alarm for want of space and takes no writes");
  }
}

/** The process's health with what housekeeping knows: why the store takes no writes and what to do, or that it fills up. */
export function healthWith(keeper: Housekeeper, health: Health, readOnly: BbsError | undefined): Health {
  if (readOnly === undefined) return keeper.detail === undefined ? health : { ...health, detail: keeper.detail };
  const advice = readOnly.facts.reason === "no-space" ? keeper.usage?.advice : undefined;
  return { ok: false, state: "read-only", detail: advice === undefined ? readOnly.message : `${readOnly.message}: ${advice}` };
}
