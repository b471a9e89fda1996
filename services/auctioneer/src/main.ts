// The auctioneer process: waits for its lock, auctions while it holds it, ends when it has lost it.
import { systemClock, systemEntropy } from "@muster/shared/clock";
import { loadConfig, maskSecrets } from "@muster/shared/config";
import { runService, type ServiceContext } from "@muster/shared/lifecycle";
import { type HeldLock, holdLock } from "@muster/shared/locket-lock";
import { createLog } from "@muster/shared/log";
import { createRegistry, type Health, startMetricsServer } from "@muster/shared/metrics";
import { serveGrpc } from "@muster/shared/rpc";
import { readTls, type TlsMaterial } from "@muster/shared/tls";
import { type AuctioneerConfig, auctioneerConfig, runnerSettingsOf } from "./config.js";
import { grpcIO, locketIO } from "./grpc-io.js";
import { type AuctioneerMetrics, auctioneerMetrics } from "./metrics.js";
import { AuctionRunner } from "./runner/index.js";
import { registerAuctioneer } from "./server.js";

const lockKey = "auctioneer";
/** Calls under way get this long to end when the process stops. */
const graceMs = 1_000;

const log = createLog("auctioneer");
runService(log, main);

async function main({ signal }: ServiceContext): Promise<void> {
  const config = loadConfig(auctioneerConfig);
  log.level = config.log_level;
  log.info({ config: maskSecrets(config) }, "starting");
  const tls = readTls(config.tls);
  const registry = createRegistry("auctioneer");
  const metrics = auctioneerMetrics(registry);
  let health = (): Health => ({ ok: true, state: "standby", detail: "waiting for the lock" });
  const metricsServer = await startMetricsServer(config.metrics_address, registry, () => health());
  try {
    const lock = await takeLock(config, tls, signal);
    metrics.lockHeld(true);
    const runner = auctionRunner(config, tls, metrics, lock);
    health = () => ({
      ok: true,
      state: "active",
      ...(runner.mirror.synced ? {} : { detail: "mirroring the BBS" }),
    });
    try {
      await serveWhileHeld(config, tls, runner, metrics, AbortSignal.any([signal, lock.lost]));
    } finally {
      metrics.lockHeld(false);
      await lock.release();
    }
    if (lock.lost.aborted) throw lock.lost.reason;
  } catch (error) {
    // Told to stop while it waited for the lock.
    if (!signal.aborted || error !== signal.reason) throw error;
  } finally {
    await metricsServer.close();
  }
}

function takeLock(config: AuctioneerConfig, tls: TlsMaterial, signal: AbortSignal): Promise<HeldLock> {
  const address = config.advertise_address ?? config.grpc_address;
  return holdLock({
    io: locketIO(config.bbs_addresses, tls),
    key: lockKey,
    owner: systemEntropy.guid(),
    value: JSON.stringify({ name: config.name, address, metrics_address: config.metrics_address }),
    ttlMs: config.lock_ttl_seconds * 1_000,
    clock: systemClock,
    log,
    signal,
  });
}

function auctionRunner(config: AuctioneerConfig, tls: TlsMaterial, metrics: AuctioneerMetrics, lock: HeldLock): AuctionRunner {
  return new AuctionRunner({
    clock: systemClock,
    entropy: systemEntropy,
    log: log.child({ component: "auction-runner" }),
    metrics,
    io: grpcIO(config.bbs_addresses, tls),
    settings: runnerSettingsOf(config),
    // A process that was frozen may come back before its timers told it that the lock is gone.
    mayAct: () => lock.held(),
  });
}

/** Runs auctions and answers calls until the signal aborts. */
async function serveWhileHeld(
  config: AuctioneerConfig,
  tls: TlsMaterial,
  runner: AuctionRunner,
  metrics: AuctioneerMetrics,
  signal: AbortSignal,
): Promise<void> {
  const serve = { log, elapsedMs: () => systemClock.elapsedMs(), observe: metrics.called };
  const server = await serveGrpc(config.grpc_address, tls, (grpc) => registerAuctioneer(grpc, runner, serve));
  log.info({ address: config.grpc_address }, "auctioneer ready");
  try {
    await runner.run(signal);
  } finally {
    await server.close(graceMs);
  }
}
