// The `muster-rep` process: reads its settings, builds everything once, runs the cell until it is told to stop.
// `--config FILE --remove-everything` instead takes away all that the cell has on this machine, and ends; its images stay.
import { mkdirSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { systemClock, systemEntropy } from "@muster/shared/clock";
import { loadConfig, maskSecrets } from "@muster/shared/config";
import { OperatorError } from "@muster/shared/errors";
import { runService, type ServiceContext } from "@muster/shared/lifecycle";
import { createLog, type Log } from "@muster/shared/log";
import { createRegistry, startMetricsServer } from "@muster/shared/metrics";
import { InstanceAuthority, readTls } from "@muster/shared/tls";
import { DownloadCache } from "./assets/cache.js";
import { CellTransfers } from "./assets/transfers.js";
import { unpackArchive } from "./assets/unpack.js";
import { type RepConfig, repConfigSchema } from "./config.js";
import { type DataFolder, openDataFolder } from "./data/folder.js";
import { type OpenGarden, openGarden } from "./garden.js";
import { dialBBS } from "./io/grpc.js";
import { repMetrics } from "./metrics.js";
import { Rep, type RepSettings } from "./rep.js";
import { serveRep } from "./server.js";

const removeFlag = "--remove-everything";
/** Streams end with their readers; those that do not are cut. */
const serverGraceMs = 250;

const dataPath = (config: RepConfig): string => join(config.home, "cells", config.cell_id, "rep");

const openFolder = (config: RepConfig, log: Log): Promise<DataFolder> => {
  mkdirSync(config.home, { recursive: true });
  return openDataFolder(dataPath(config), systemEntropy, log);
};

const settingsOf = (config: RepConfig, { stacks, volumeDrivers }: OpenGarden): RepSettings => ({
  stacks,
  volumeDrivers,
  cellId: config.cell_id,
  cellIndex: config.cell_index,
  zone: config.zone,
  repAddress: config.advertise_address ?? config.listen_address,
  rootFSSchemes: ["docker"],
  placementTags: config.placement_tags,
  optionalPlacementTags: config.optional_placement_tags,
  capacity: { memoryMb: config.memory_mb, diskMb: config.disk_mb, containers: config.containers },
  presenceTtlMs: config.presence_ttl_ms,
  pollingMs: config.polling_interval_ms,
  gracefulShutdownMs: config.graceful_shutdown_ms,
  adoptionTimeoutMs: config.adoption_timeout_ms,
  trustedCertificatesDir: config.trusted_system_certificates_dir,
  containerCheckMs: config.container_check_interval_ms,
  evacuationTimeoutMs: config.evacuation_timeout_ms,
});

async function serve(config: RepConfig, { signal, log }: ServiceContext): Promise<void> {
  log.info({ cell_id: config.cell_id, settings: maskSecrets(config) }, "starting");
  const tls = readTls(config.tls);
  const identity = await identityOf(config);
  const folder = await openFolder(config, log);
  const opened = openGarden(config, { clock: systemClock, entropy: systemEntropy, log });
  const { garden } = opened;
  const bbs = dialBBS(config.bbs_addresses, tls);
  const metricsRegistry = createRegistry(config.name);
  const metrics = repMetrics(metricsRegistry);
  const rep = new Rep({
    clock: systemClock,
    entropy: systemEntropy,
    log: log.child({ cell_id: config.cell_id }),
    garden,
    io: bbs.io,
    store: folder.containers,
    owner: folder.owner,
    evacuating: folder.evacuating,
    rememberEvacuating: (evacuating) => folder.setEvacuating(evacuating),
    settings: settingsOf(config, opened),
    probeHttp: opened.probeHttp,
    transfers: transfersOf(config, log),
    identity,
    observer: metrics.observer,
  });
  metrics.attach(rep);
  const elapsedMs = () => systemClock.elapsedMs();
  const serving = { log, elapsedMs, begun: metrics.callBegun, observe: metrics.observeCall };
  const server = await serveRep(config.listen_address, tls, rep, serving);
  const metricsServer = await startMetricsServer(config.metrics_address, metricsRegistry, () => healthOf(rep));
  try {
    await rep.run(signal);
  } finally {
    await Promise.all([server.close(serverGraceMs), metricsServer.close()]);
    bbs.close();
    identity?.authority[Symbol.dispose]();
    await garden[Symbol.asyncDispose]();
    folder.release();
  }
}

/** Nobody reads the certificate of a container that is in memory only. */
async function identityOf({ instance_identity: settings, runtime }: RepConfig) {
  if (settings === undefined || runtime === "simulated") return undefined;
  const authority = await InstanceAuthority.open(settings, settings.key_type, systemClock.nowMs());
  return { authority, validityMs: settings.validity_ms };
}

function transfersOf(config: RepConfig, log: Log): CellTransfers {
  const maxBytes = config.download_cache_bytes;
  const unpack = (archive: string, folder: string, signal: AbortSignal) => unpackArchive(archive, folder, maxBytes, signal);
  const folder = join(dataPath(config), "cache");
  return new CellTransfers(systemClock, new DownloadCache({ folder, maxBytes, clock: systemClock, log, unpack }));
}

function healthOf(rep: Rep) {
  if (!rep.connected) return { ok: false, state: "disconnected", detail: rep.trouble ?? "no session with the bbs yet" };
  const reason = rep.condition.unhealthyReason;
  return reason === undefined ? { ok: true, state: "healthy" } : { ok: false, state: "unhealthy", detail: reason };
}

/** The end of a cell on this machine: containers, network, folders. */
async function removeEverything(config: RepConfig, { signal, log }: ServiceContext): Promise<void> {
  const folder = await openFolder(config, log);
  const opened = openGarden(config, { clock: systemClock, entropy: systemEntropy, log });
  await opened.garden.start(signal);
  await opened.removeEverything();
  for (const part of ["containers", "cache"]) await rm(join(folder.path, part), { recursive: true, force: true });
  folder.release();
  log.info({ cell_id: config.cell_id }, "everything of the cell was removed");
}

function main(): void {
  const removing = process.argv.includes(removeFlag);
  const argv = process.argv.slice(2).filter((argument) => argument !== removeFlag);
  const first = createLog("rep");
  try {
    const config = loadConfig(repConfigSchema, argv);
    const log = createLog(config.name, config.log_level);
    runService(log, (context) => (removing ? removeEverything(config, context) : serve(config, context)));
  } catch (err) {
    first.error({ err, ...(err instanceof OperatorError ? { hint: err.hint } : {}) }, "service failed");
    process.exit(78);
  }
}

main();
