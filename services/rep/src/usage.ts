// What the cell's containers use, measured at most once a second however many ask.
import type { Garden } from "@muster/garden";
import type { ContainerMetrics } from "@muster/proto/muster/v1/rep";
import type { Clock } from "@muster/shared/clock";
import type { Registry } from "./registry.js";

export interface UsageOptions {
  readonly clock: Clock;
  readonly garden: Garden;
  readonly registry: Registry;
}

/** Measuring reads several files of each container. */
const sampleMs = 1_000;

export class Usage {
  readonly #options: UsageOptions;
  #sample: { readonly atMs: number; readonly containers: Promise<ContainerMetrics[]> } | undefined;

  constructor(options: UsageOptions) {
    this.#options = options;
  }

  /** One that cannot say what it uses is left out. */
  read(): Promise<ContainerMetrics[]> {
    const nowMs = this.#options.clock.elapsedMs();
    if (this.#sample === undefined || nowMs - this.#sample.atMs >= sampleMs) {
      this.#sample = { atMs: nowMs, containers: this.#measure() };
    }
    return this.#sample.containers;
  }

  async #measure(): Promise<ContainerMetrics[]> {
    const nowMs = this.#options.clock.nowMs();
    const all = [...this.#options.registry.all()].map(async (record): Promise<ContainerMetrics | undefined> => {
      const container = this.#options.garden.lookup(record.instanceGuid);
      const usage = await container?.usage().catch(() => undefined);
      if (container === undefined || usage === undefined) return undefined;
      return {
        instanceGuid: record.instanceGuid,
        processGuid: record.task === undefined ? record.key.processGuid : "",
        index: record.key.index,
        taskGuid: record.task?.guid ?? "",
        memoryUsageBytes: BigInt(usage.memoryBytes),
        memoryQuotaBytes: BigInt(record.memoryMb) * 1_048_576n,
        diskUsageBytes: BigInt(usage.diskBytes),
        diskQuotaBytes: BigInt(record.diskMb) * 1_048_576n,
        cpuTimeNs: usage.cpuTimeNs,
        ageNs: BigInt(Math.max(0, Math.round(nowMs - container.info().createdAtMs))) * 1_000_000n,
      };
    });
    return (await Promise.all(all)).filter((one) => one !== undefined);
  }
}
