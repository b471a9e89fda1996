// Gives containers their certificates before anything runs in them, and others before those run out.
import type { Container } from "@muster/garden";
import type { Clock, Entropy } from "@muster/shared/clock";
import { Turnstile } from "@muster/shared/flight";
import type { Log } from "@muster/shared/log";
import type { InstanceAuthority } from "@muster/shared/tls";
import { type ContainerRecord, renewalAfterMs } from "../plan/index.js";

export interface IdentitySource {
  readonly authority: Pick<InstanceAuthority, "issue">;
  readonly validityMs: number;
}

export interface IdentitiesOptions {
  readonly clock: Clock;
  readonly entropy: Entropy;
  readonly log: Log;
}

/** Renewals, of which a restarted rep has one for each container, leave the machine to the starts. */
const parallelRenewals = 2;
/** The wall clock may be set, and stands still for timers while a machine sleeps: it is looked at no less often. */
const lookAgainMs = 600_000;
/** Before a renewal that failed is tried again; what the container has is good for half an hour more. */
const retryMs = 60_000;

export class Identities {
  readonly #options: IdentitiesOptions;
  readonly #source: IdentitySource;
  readonly #renewals = new Turnstile(parallelRenewals);

  constructor(options: IdentitiesOptions, source: IdentitySource) {
    this.#options = options;
    this.#source = source;
  }

  /** Makes and writes one. Resolves to when it is to be renewed, in wall-clock time. @throws GardenError, or what the signing threw. */
  async give(record: ContainerRecord, container: Container): Promise<number> {
    const { clock, entropy } = this.#options;
    const { authority, validityMs } = this.#source;
    const { containerIp, hostIp } = container.info();
    const nowMs = clock.nowMs();
    const subject = {
      guid: record.task?.guid ?? record.instanceGuid,
      organizationalUnits: record.startInfo?.identity?.organizationalUnits ?? [],
      ipAddress: containerIp || hostIp,
      serial: entropy.guid(),
    };
    await container.writeIdentity(await authority.issue(subject, nowMs, validityMs));
    return nowMs + renewalAfterMs(validityMs);
  }

  /** Renews until the signal aborts. `dueMs`: when the present one is to be replaced; 0, which is at once, when nobody knows. */
  async keep(record: ContainerRecord, container: Container, dueMs: number, signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#options;
    let nextMs = dueMs;
    while (!signal.aborted) {
      const leftMs = nextMs - clock.nowMs();
      if (leftMs > 0) {
        await clock.sleep(Math.min(leftMs, lookAgainMs), signal).catch(() => undefined);
        continue;
      }
      try {
        nextMs = await this.#renewals.run(signal, () => this.give(record, container));
      } catch (err) {
        if (signal.aborted) return;
        log.warn(
          { err, instance_guid: record.instanceGuid, retry_ms: retryMs },
          "an instance's certificate could not be renewed",
        );
        nextMs = clock.nowMs() + retryMs;
      }
    }
  }
}
