// Watches over the garden: does it answer, can it run a container, has it lost a container, does it hold one that nobody knows (cell.md sections 5 and 12)?
import type { Garden, GardenError } from "@muster/garden";
import type { Clock, Entropy } from "@muster/shared/clock";
import type { Log } from "@muster/shared/log";
import { asInstanceGuid, type InstanceGuid } from "@muster/shared/model";
import { checkGarden, checkHandlePrefix } from "./garden-check.js";
import type { Registry } from "./registry.js";

export interface GardenWatchOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly garden: Garden;
  readonly entropy: Entropy;
  /** A root whose image is here; `undefined` before there was one. */
  readonly checkRootFs: () => string | undefined;
  /** Between checks with a container; 0: none are made. */
  readonly checkMs: number;
  /** The cell turned healthy or unhealthy. */
  readonly onChange: (healthy: boolean) => void;
}

const pingEveryMs = 5_000;
const pingTimeoutMs = 5_000;
/** After a create that failed for want of space the cell takes no work for this long. */
const noSpaceMs = 30_000;
/** Source: cell.md section 5, garbage collection. */
const compareEveryMs = 60_000;

export class GardenWatch {
  readonly #options: GardenWatchOptions;
  #silent: string | undefined;
  /** What the last check with a container found; it stands until the next. */
  #broken: string | undefined;
  #noSpaceUntilMs = Number.NEGATIVE_INFINITY;
  #noSpace = "";

  constructor(options: GardenWatchOptions) {
    this.#options = options;
  }

  /** Why the cell takes no work; `undefined` when it does. */
  get unhealthyReason(): string | undefined {
    const found = this.#silent ?? this.#broken;
    if (found !== undefined) return found;
    return this.#options.clock.elapsedMs() < this.#noSpaceUntilMs ? this.#noSpace : undefined;
  }

  /** A full disk fails every create that follows: better to say so than to crash them all. */
  createFailed(error: GardenError): void {
    if (error.code !== "no-space") return;
    this.#noSpaceUntilMs = this.#options.clock.elapsedMs() + noSpaceMs;
    this.#noSpace = `the cell has no space left for containers: ${error.message}`;
    this.#options.onChange(false);
  }

  /** Pings until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, log, onChange } = this.#options;
    while (!signal.aborted) {
      const before = this.unhealthyReason;
      this.#silent = await this.#ping(signal);
      if (signal.aborted) return;
      if (before !== this.unhealthyReason) {
        log.warn({ reason: this.unhealthyReason ?? "the garden answers again" }, "cell health changed");
        onChange(this.unhealthyReason === undefined);
      }
      await clock.sleep(pingEveryMs, signal).catch(() => undefined);
    }
  }

  /** Checks with a container every `checkMs` until the signal aborts; a cell counts as healthy until one says otherwise. */
  async checkEvery(signal: AbortSignal): Promise<void> {
    const { clock, entropy, garden, log, checkRootFs, checkMs, onChange } = this.#options;
    while (checkMs > 0 && !signal.aborted) {
      await clock.sleep(checkMs, signal).catch(() => undefined);
      if (signal.aborted) return;
      const before = this.#broken;
      this.#broken = await checkGarden({ clock, entropy, garden, rootFs: checkRootFs }, signal);
      if (signal.aborted) return;
      if (before === this.#broken) continue;
      log.warn({ reason: this.#broken ?? "a container runs again" }, "cell health changed");
      onChange(this.unhealthyReason === undefined);
    }
  }

  async #ping(signal: AbortSignal): Promise<string | undefined> {
    const { clock, garden } = this.#options;
    const over = new AbortController();
    const late = new Promise<string>((resolve) => {
      over.signal.addEventListener("abort", () => resolve(`the garden does not answer within ${pingTimeoutMs} ms`), {
        once: true,
      });
    });
    const cancel = clock.after(pingTimeoutMs, () => over.abort());
    const answer = garden.ping(AbortSignal.any([signal, over.signal])).then(
      () => undefined,
      (error: unknown) => `the garden fails: ${error instanceof Error ? error.message : String(error)}`,
    );
    const result = await Promise.race([answer, late]);
    cancel();
    return result;
  }

  /** Every minute: tells of containers the garden lost, and destroys those that nobody knows. */
  async compareEvery(signal: AbortSignal, registry: Registry, onLost: (guid: InstanceGuid) => void): Promise<void> {
    const { clock, garden, log } = this.#options;
    while (!signal.aborted) {
      await clock.sleep(compareEveryMs, signal).catch(() => undefined);
      if (signal.aborted) return;
      const mustBeThere = [...registry.all()].filter((record) => record.state === "created" || record.state === "running");
      try {
        const present = new Set((await garden.containers()).map((container) => container.handle));
        for (const { instanceGuid } of mustBeThere) if (!present.has(instanceGuid)) onLost(instanceGuid);
        const known = (handle: string): boolean =>
          registry.get(asInstanceGuid(handle)) !== undefined || handle.startsWith(checkHandlePrefix);
        this.destroyStrays([...present].filter((handle) => !known(handle)));
      } catch (err) {
        log.warn({ err, retry_ms: compareEveryMs }, "garden could not list its containers");
      }
    }
  }

  /** Destroys containers without a record; what fails is tried again at the next comparison. */
  destroyStrays(handles: readonly string[]): void {
    for (const handle of handles) {
      this.#options.log.warn({ instance_guid: handle }, "destroying a container that nobody knows");
      this.#options.garden
        .destroy(handle)
        .catch((err: unknown) =>
          this.#options.log.warn({ err, instance_guid: handle }, "stray container could not be destroyed"),
        );
    }
  }
}
