// The BBS process: campaigns, serves while it leads, and ends when it no longer may.
import { systemClock, systemEntropy } from "@muster/shared/clock";
import { loadConfig, maskSecrets } from "@muster/shared/config";
import { LostLeadershipError, runService, type ServiceContext } from "@muster/shared/lifecycle";
import { createLog } from "@muster/shared/log";
import { type BoundServer, createRegistry, type Health, startMetricsServer } from "@muster/shared/metrics";
import { serveGrpc } from "@muster/shared/rpc";
import { readTls } from "@muster/shared/tls";
import { ActiveBbs } from "./active/active-bbs.js";
import { Calls } from "./api/calls.js";
import { registerServices } from "./api/grpc.js";
import { serveHttp } from "./api/http.js";
import { httpPoster } from "./callbacks/post.js";
import { type BbsConfig, bbsConfig } from "./config.js";
import { Housekeeper, healthWith } from "./housekeeping/housekeeper.js";
import { housekeepingMetrics } from "./housekeeping/metrics.js";
import { whenSent } from "./journal/when-sent.js";
import { bbsMetrics } from "./metrics.js";
import { serveClosedDoor } from "./schema/closed-door.js";
import { lifecycleMetrics } from "./schema/metrics.js";
import { createSealer } from "./secrets/index.js";
import { openStore } from "./store.js";

/** Calls under way get this long to end when the process stops. */
const graceMs = 2_000;
/** A release is one call, made at once; on a loaded machine it may take this long to arrive. */
const goodByeMs = 1_000;
/** How soon gRPC health learns that the store takes no writes, or takes them again. */
const healthLookMs = 250;

async function main(config: BbsConfig, { signal, log }: ServiceContext): Promise<void> {
  log.info({ config: maskSecrets(config) }, "bbs starting");
  const registry = createRegistry(config.name);
  const metrics = bbsMetrics(registry);
  const { migrated, sealedAnew } = lifecycleMetrics(registry);
  let health: Health = { ok: true, state: "standby" };
  let active: ActiveBbs | undefined;
  let housekeeper: Housekeeper | undefined;
  const metricsServer = await startMetricsServer(config.metrics_address, registry, () => {
    const readOnly = active?.journal.readOnlyBecause;
    return housekeeper === undefined ? health : healthWith(housekeeper, health, readOnly);
  });
  const sealer = createSealer({
    keys: Object.entries(config.encryption_keys).map(([label, passphrase]) => ({ label, passphrase })),
    activeLabel: config.active_key_label,
  });
  await using store = await openStore(config.store, log);
  const keeper = new Housekeeper(store, systemClock, log);
  housekeeper = keeper;
  metrics.usage(() => keeper.usage);
  housekeepingMetrics(registry, keeper);
  void keeper.run(signal);
  const unlessStopped = (error: unknown): undefined => {
    if (!signal.aborted) throw error;
  };
  const leadership = await store.campaign("bbs", config.grpc_address, config.leadership_ttl_ms, signal).catch(unlessStopped);
  if (leadership === undefined) return;
  metrics.elected(leadership.lost);
  health = { ok: true, state: "loading" };
  let lose: (cause: Error) => void = () => undefined;
  const lost = new Promise<never>((_resolve, reject) => {
    lose = reject;
  });
  let closedDoor: Promise<BoundServer> | undefined;
  const migrating = (): void => {
    health = { ok: true, state: "migrating" };
    if (config.http_address !== undefined) closedDoor = serveClosedDoor(config.http_address, readTls(config.tls));
  };
  // Asked to end before it serves: what it does to the records meanwhile ends at a commit, and is gone on with by the next.
  const giveUp = (): void => void leadership.resign();
  signal.addEventListener("abort", giveUp, { once: true });
  const term = await ActiveBbs.start({
    store,
    leadership,
    clock: systemClock,
    entropy: systemEntropy,
    log,
    secrets: sealer,
    metrics,
    lifecycle: { migrating, migrated, sealedAnew },
    whenSent,
    presenceTtlMs: config.presence_ttl_ms,
    admit: (tables, writes) => keeper.admit(tables, writes),
    maxTaskRetries: config.max_task_retries,
    callbacks: {
      post: httpPoster(readTls(config.tls)),
      workers: config.task_callback_workers,
      timeoutMs: config.task_callback_timeout_ms,
    },
    onLost: (cause) => lose(new LostLeadershipError(cause.message, { cause })),
  }).catch(unlessStopped);
  signal.removeEventListener("abort", giveUp);
  await (await closedDoor)?.close();
  if (term === undefined || signal.aborted) return;
  active = term;
  metrics.follow(term);
  const serve = { log, elapsedMs: () => systemClock.elapsedMs(), observe: metrics.called };
  const server = await serveGrpc(config.grpc_address, readTls(config.tls), (grpc) => registerServices(grpc, term, serve), {
    refused: metrics.refused,
  });
  metrics.connections(() => server.connections);
  const http =
    config.http_address === undefined
      ? undefined
      : await serveHttp(config.http_address, readTls(config.tls), new Calls(term), serve);
  health = { ok: true, state: "active" };
  log.info({ address: config.grpc_address }, "bbs ready");
  let cancelLook = (): void => undefined;
  const lookAtHealth = (): void => {
    server.setServing(term.serving);
    cancelLook = systemClock.after(healthLookMs, lookAtHealth);
  };
  lookAtHealth();
  const stopped = new Promise<void>((resolve) => {
    signal.addEventListener("abort", () => resolve(), { once: true });
    if (signal.aborted) resolve();
  });
  await Promise.race([stopped, lost]);
  // Without their supervisor all services end in the same instant: those that hold locks are let to give them back, so that the
  // next start need not wait until they lapse.
  if (signal.reason === "supervisor-gone") await Promise.race([systemClock.sleep(goodByeMs), lost]);
  // What was admitted is committed and answered; then the leadership goes, so that a standby need not wait for its TTL.
  cancelLook();
  server.setServing(false);
  await term.drain();
  await http?.close(graceMs);
  await server.close(graceMs);
  await leadership.resign();
  await metricsServer.close();
}

runService(createLog("bbs"), async ({ signal }) => {
  const config = loadConfig(bbsConfig);
  await main(config, { signal, log: createLog(config.name, config.log_level) });
});
