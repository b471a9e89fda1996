// The converger process: waits for its lock, works while it holds it, ends when it has lost it.
import { LocketClient } from "@muster/proto/models/locket";
import { RepairServiceClient } from "@muster/proto/muster/v1/repair";
import { WatchServiceClient } from "@muster/proto/muster/v1/watch";
import { systemClock, systemEntropy } from "@muster/shared/clock";
import { loadConfig, maskSecrets } from "@muster/shared/config";
import { LostLeadershipError, runService, type ServiceContext } from "@muster/shared/lifecycle";
import { type HeldLock, holdLock } from "@muster/shared/locket-lock";
import { createLog } from "@muster/shared/log";
import { createRegistry, type Health, startMetricsServer } from "@muster/shared/metrics";
import { dial, serverStream, unary } from "@muster/shared/rpc";
import { readTls, type TlsMaterial } from "@muster/shared/tls";
import { type ConvergerConfig, convergerConfig } from "./config.js";
import { Converger, type ConvergerIO } from "./converger.js";
import { locketIO } from "./locket-io.js";
import { convergerMetrics } from "./metrics.js";

const lockKey = "converger";

const log = createLog("converger");
runService(log, main);

async function main({ signal }: ServiceContext): Promise<void> {
  const config = loadConfig(convergerConfig);
  log.level = config.log_level;
  log.info({ config: maskSecrets(config) }, "starting");
  const tls = readTls(config.tls);
  const registry = createRegistry("converger");
  const metrics = convergerMetrics(registry);
  let health = (): Health => ({ ok: true, state: "standby", detail: "waiting for the lock" });
  const server = await startMetricsServer(config.metrics_address, registry, () => health());
  try {
    const lock = await takeLock(config, tls, signal);
    metrics.lockHeld.set(1);
    const io = dialBbs(config, tls, lock);
    const options = { convergeIntervalMs: config.converge_interval_ms };
    const converger = new Converger({ clock: systemClock, log, metrics, io, config: options });
    health = () =>
      converger.synced ? { ok: true, state: "active" } : { ok: true, state: "active", detail: "mirroring the BBS" };
    await converger.run(AbortSignal.any([signal, lock.lost]));
    metrics.lockHeld.set(0);
    await lock.release();
    if (lock.lost.aborted) throw lock.lost.reason;
  } catch (error) {
    // Told to stop while it waited for the lock.
    if (!signal.aborted || error !== signal.reason) throw error;
  } finally {
    await server.close();
  }
}

function takeLock(config: ConvergerConfig, tls: TlsMaterial, signal: AbortSignal): Promise<HeldLock> {
  return holdLock({
    io: locketIO(dial(LocketClient, config.bbs_addresses, tls)),
    key: lockKey,
    owner: systemEntropy.guid(),
    value: JSON.stringify({ name: config.name, metrics_address: config.metrics_address }),
    ttlMs: config.lock_ttl_seconds * 1_000,
    clock: systemClock,
    log,
    signal,
  });
}

function dialBbs(config: ConvergerConfig, tls: TlsMaterial, lock: HeldLock): ConvergerIO {
  const watch = dial(WatchServiceClient, config.bbs_addresses, tls);
  const repairs = dial(RepairServiceClient, config.bbs_addresses, tls);
  return {
    openWatch: (request, signal) => serverStream(watch.watch.bind(watch), request, { signal }),
    repair: async (items, signal) => {
      // A process that was frozen may come back here before its timers told it that the lock is gone.
      if (!lock.held()) throw new LostLeadershipError(`the lock ${lockKey} is not held`);
      return (await unary(repairs.repair.bind(repairs), { items: [...items] }, { signal })).results;
    },
  };
}
