// The converger as a service: waits for its lock, works while it holds it, gives it back or fails when it has lost it.
import { LocketClient } from "@muster/proto/models/locket";
import { RepairServiceClient } from "@muster/proto/muster/v1/repair";
import { WatchServiceClient } from "@muster/proto/muster/v1/watch";
import { systemClock, systemEntropy } from "@muster/shared/clock";
import { LostLeadershipError, type ServiceContext } from "@muster/shared/lifecycle";
import { type HeldLock, holdLock } from "@muster/shared/locket-lock";
import { type BoundServer, createRegistry, type Health, startMetricsServer } from "@muster/shared/metrics";
import { dial, serverStream, unary } from "@muster/shared/rpc";
import { readTls, type TlsMaterial } from "@muster/shared/tls";
import type { ConvergerConfig } from "./config.js";
import { Converger, type ConvergerIO } from "./converger.js";
import { locketIO } from "./locket-io.js";
import { type ConvergerMetrics, convergerMetrics } from "./metrics.js";

const lockKey = "converger";

type Closing = { readonly closeAll: (() => void)[] };

/**
 * Runs until told to stop. `onServing` hears of the metrics server once it listens.
 * @throws LostLeadershipError when the lock was lost; OperatorError for TLS files that cannot be read.
 */
export async function runConverger(
  config: ConvergerConfig,
  context: ServiceContext,
  onServing: (server: BoundServer) => void = () => undefined,
): Promise<void> {
  const tls = readTls(config.tls);
  const registry = createRegistry(config.name);
  const metrics = convergerMetrics(registry);
  let health = (): Health => ({ ok: true, state: "standby", detail: "waiting for the lock" });
  const server = await startMetricsServer(config.metrics_address, registry, () => health());
  const closing: Closing = { closeAll: [] };
  try {
    onServing(server);
    const lock = await takeLock(config, context, tls, closing);
    const converger = makeConverger(config, context, metrics, dialBbs(config, tls, lock, closing));
    health = () =>
      converger.synced ? { ok: true, state: "active" } : { ok: true, state: "active", detail: "mirroring the BBS" };
    await work(converger, lock, metrics, context.signal);
  } catch (error) {
    // Told to stop while it waited for the lock.
    if (!context.signal.aborted || error !== context.signal.reason) throw error;
  } finally {
    for (const close of closing.closeAll) close();
    await server.close();
  }
}

async function work(converger: Converger, lock: HeldLock, metrics: ConvergerMetrics, signal: AbortSignal): Promise<void> {
  metrics.lockHeld.set(1);
  await converger.run(AbortSignal.any([signal, lock.lost]));
  metrics.lockHeld.set(0);
  await lock.release();
  lock.lost.throwIfAborted();
}

function makeConverger(config: ConvergerConfig, { log }: ServiceContext, metrics: ConvergerMetrics, io: ConvergerIO): Converger {
  return new Converger({ clock: systemClock, log, metrics, io, config: { convergeIntervalMs: config.converge_interval_ms } });
}

function takeLock(
  config: ConvergerConfig,
  { log, signal }: ServiceContext,
  tls: TlsMaterial,
  closing: Closing,
): Promise<HeldLock> {
  const locket = dial(LocketClient, config.bbs_addresses, tls, "bbs");
  closing.closeAll.push(() => locket.close());
  return holdLock({
    io: locketIO(locket),
    key: lockKey,
    owner: systemEntropy.guid(),
    value: JSON.stringify({ name: config.name, metrics_address: config.metrics_address }),
    ttlMs: config.lock_ttl_ms,
    clock: systemClock,
    log,
    signal,
  });
}

function dialBbs(config: ConvergerConfig, tls: TlsMaterial, lock: HeldLock, closing: Closing): ConvergerIO {
  const watch = dial(WatchServiceClient, config.bbs_addresses, tls, "bbs");
  const repairs = dial(RepairServiceClient, config.bbs_addresses, tls, "bbs");
  closing.closeAll.push(
    () => watch.close(),
    () => repairs.close(),
  );
  return {
    openWatch: (request, signal) => serverStream(watch.watch.bind(watch), request, { signal }),
    repair: async (items, signal) => {
      // A process that was frozen may come back here before its timers told it that the lock is gone.
      if (!lock.held()) throw new LostLeadershipError(`the lock ${lockKey} is not held`);
      return (await unary(repairs.repair.bind(repairs), { items: [...items] }, { signal })).results;
    },
  };
}
