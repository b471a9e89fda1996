// `muster up`: a whole platform on this machine, as supervised processes, from its home folder.
import { existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { lockFolder } from "@muster/shared/lifecycle";
import { dockerFlag, isDockerEnabled } from "../apps/docker-flag.js";
import { type ClientFile, homeOf } from "../client/settings.js";
import { type Context, openSession, type Session } from "../context.js";
import { explain, RefusedError, UsageError } from "../exit.js";
import { servicesFileOf } from "../services-file.js";
import { divideCapacity, machineCapacity } from "./capacity.js";
import { prepareCertificates, prepareInstanceTrust } from "./certificates.js";
import { checkMachine, checkPorts, type NamedAddress } from "./checks.js";
import { knownCells, removeContainers } from "./clean-up.js";
import { type KeptRegistry, keepRegistry, runDemo } from "./demo.js";
import { emptyHome, type Home, isHome, openHome, sealingKeys } from "./home.js";
import { awaitLeftovers } from "./leftovers.js";
import { parseUpOptions, type UpFlags, type UpOptions } from "./options.js";
import { type PortPlan, planPorts } from "./ports.js";
import { giveBbsHeadStart, StartFaults, waitReady } from "./ready.js";
import { reportReady } from "./report.js";
import {
  bbsAddresses,
  bbsHttpAddresses,
  cellNames,
  type PlanInput,
  planServices,
  rolesOf,
  type ServicePlan,
} from "./service-plan.js";
import { configFileOf, Supervisor } from "./supervisor.js";
import { keepVouching, vouchOnce } from "./vouch.js";

/** packages/cli/{src,dist}/up/ is four folders below the root of the repository. */
const repoRoot = fileURLToPath(new URL("../../../../", import.meta.url));
const programOf = (role: ServicePlan["role"]): string => path.join(repoRoot, "services", role, "dist", "main.js");

/** Runs until the context's signal aborts, then stops everything and removes the containers; data is kept. */
export async function up(context: Context, flags: UpFlags): Promise<void> {
  const options = parseUpOptions(flags);
  const ports = planPorts(options.portOffset, options.cells);
  if (options.fresh && options.store.driver === "etcd") {
    throw new UsageError(
      "--fresh empties the home, not etcd",
      "delete the keys under /muster/ in etcd yourself, then start without --fresh",
    );
  }
  checkMachine(options);
  checkFiles(options);
  const dir = homeOf(context.flags);
  mkdirSync(dir, { recursive: true });
  await using _lock = await lockFolder(dir, "muster up");
  if (options.fresh) await clearHome(context, dir);
  const home = openHome(dir);
  await awaitLeftovers(home.servicesFile, home.config, context.clock, context.signal);
  await runPlatform(context, { options, ports, home });
}

interface Run {
  readonly options: UpOptions;
  readonly ports: PortPlan;
  readonly home: Home;
}

function checkFiles({ registryCaFiles, store }: UpOptions): void {
  const files = [...registryCaFiles, ...(store.driver === "etcd" ? [store.ca, store.cert, store.key, store.passwordFile] : [])];
  const missing = files.find((file) => file !== undefined && !existsSync(file));
  if (missing !== undefined) throw new UsageError(`the file ${missing} does not exist`);
}

/** Containers of the home's last run go first: nobody could find them any more once the home is empty. */
async function clearHome({ out, clock, signal }: Context, dir: string): Promise<void> {
  if (!isHome(dir)) return;
  const old = { config: path.join(dir, "config"), logs: path.join(dir, "logs") };
  await awaitLeftovers(servicesFileOf(dir), old.config, clock, signal);
  const failed = await removeContainers(old, knownCells(old), programOf("rep"), clock);
  if (failed.length > 0) {
    throw new RefusedError(`the containers of ${failed.join(", ")} could not be removed`, `see the logs in ${old.logs}`);
  }
  emptyHome(dir);
  out.progress(`${dir} is empty again`);
}

async function runPlatform(context: Context, run: Run): Promise<void> {
  const { clock, signal, out } = context;
  const startedAtMs = clock.elapsedMs();
  const registries = [...run.options.insecureRegistries, ...(run.options.demo ? [`127.0.0.1:${run.ports.registry}`] : [])];
  const input = await preparePlan(context, run, registries);
  const plans = planServices(input);
  await checkPorts(addressesOf(plans, input, run));
  writeFiles(run, input, plans, registries);
  const faults = new StartFaults(run.home);
  let ready = false;
  const supervisor = new Supervisor({
    home: run.home,
    plans,
    programOf,
    clock,
    onEnd: (name, end) => {
      faults.onEnd(name, end);
      if (ready) out.note(`muster: ${name} ended (${end.signal ?? `exit ${end.code}`}); it is started again`);
    },
  });
  context.onForce(() => supervisor.kill());
  let registry: KeptRegistry | undefined;
  try {
    out.progress(`starting ${plans.length} processes …`);
    supervisor.start("bbs");
    using session = openSession({ ...context, flags: { home: run.home.dir } });
    await giveBbsHeadStart(session.platform, clock, faults);
    supervisor.start("auctioneer", "converger", "rep");
    if (run.options.demo) registry = await keepRegistry(run.home, run.ports.registry, clock, context.entropy);
    await waitReady(plans, session.platform, clock, faults);
    await becomeReady(context, session, run, input, plans, startedAtMs);
    ready = true;
    const vouching = keepVouching(session.platform, (error) => out.note(`muster: ${explain(error).message}`), signal);
    if (registry !== undefined) await showDemo(context, session, run.home, registry.address);
    await aborted(signal);
    await vouching;
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    await stopPlatform(context, run, supervisor, registry);
  }
}

const aborted = (signal: AbortSignal): Promise<void> =>
  signal.aborted
    ? Promise.resolve()
    : new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));

async function preparePlan(
  { clock }: Context,
  { options, ports, home }: Run,
  insecureRegistries: readonly string[],
): Promise<PlanInput> {
  const certificates = await prepareCertificates(home.certs, rolesOf(options.cells), clock.nowMs());
  return {
    options,
    ports,
    home,
    filesOf: certificates.filesOf,
    instanceTrust: await prepareInstanceTrust(path.resolve(home.certs), clock.nowMs()),
    keys: sealingKeys(home),
    capacity: divideCapacity(machineCapacity(home.dir), options.cells),
    insecureRegistries,
  };
}

function addressesOf(plans: readonly ServicePlan[], input: PlanInput, { options, ports }: Run): NamedAddress[] {
  return [
    ...plans.flatMap((plan) => [
      ...(plan.address === "" ? [] : [{ name: plan.name, address: plan.address }]),
      { name: `metrics of ${plan.name}`, address: plan.metricsAddress },
    ]),
    ...bbsHttpAddresses(input).map((address, n) => ({ name: `HTTP of bbs-${n + 1}`, address })),
    ...(options.demo ? [{ name: "demo registry", address: `127.0.0.1:${ports.registry}` }] : []),
  ];
}

/** Settings of cells that an earlier `up` had and this one has not stay: their containers must still be found. */
function writeFiles(
  { home, options }: Run,
  input: PlanInput,
  plans: readonly ServicePlan[],
  registries: readonly string[],
): void {
  for (const plan of plans) {
    writeFileSync(configFileOf(home, plan.name), `${JSON.stringify(plan.config, undefined, 2)}\n`, { mode: 0o600 });
  }
  const client: ClientFile = {
    bbs_grpc: bbsAddresses(input),
    bbs_http: bbsHttpAddresses(input),
    ca: "certs/ca.crt",
    cert: "certs/operator.crt",
    key: "certs/operator.key",
    runtime: options.runtime,
    insecure_registries: [...registries],
    registry_ca: options.registryCaFiles.map((file) => path.resolve(file)),
  };
  writeFileSync(home.clientFile, `${JSON.stringify(client, undefined, 2)}\n`);
}

async function becomeReady(
  context: Context,
  { platform }: Session,
  { options, home }: Run,
  input: PlanInput,
  plans: readonly ServicePlan[],
  startedAtMs: number,
): Promise<void> {
  const turnOn = options.demo && home.created;
  if (turnOn) await platform.setFeatureFlag(dockerFlag, true);
  await vouchOnce(platform);
  reportReady(context.out, {
    home: home.dir,
    options,
    plans,
    bbsGrpc: bbsAddresses(input),
    bbsHttp: bbsHttpAddresses(input),
    dockerEnabled: turnOn || (await isDockerEnabled(platform)),
    dockerTurnedOn: turnOn,
    startedInMs: context.clock.elapsedMs() - startedAtMs,
    homeFlag: context.flags.home === undefined ? "" : `--home ${context.flags.home}`,
  });
}

/** A demo that fails is no reason to take the platform down. */
async function showDemo(context: Context, session: Session, home: Home, registry: string): Promise<void> {
  const { out, signal } = context;
  try {
    const urls = await runDemo(context, session, home, registry);
    if (out.json) out.event({ event: "demo", urls });
    else if (urls.length > 0) out.line(`The demo app answers on ${urls.join(" and ")}`);
  } catch (error) {
    if (signal.aborted) return;
    const { message, hint } = explain(error);
    out.note(`muster: the demo does not run: ${message}${hint === undefined ? "" : `; ${hint}`}`);
  }
}

/** Nobody places or repairs while cells go; the BBS goes last, so that everybody can say good-bye. */
async function stopPlatform(
  context: Context,
  { home, options }: Run,
  supervisor: Supervisor,
  registry: KeptRegistry | undefined,
): Promise<void> {
  const { out, clock } = context;
  out.note("muster: stopping …");
  await supervisor.stop("auctioneer", "converger");
  await supervisor.stop("rep");
  const cells = [...new Set([...knownCells(home), ...cellNames(options.cells)])];
  const failed = options.runtime === "runc" ? await removeContainers(home, cells, programOf("rep"), clock) : [];
  await supervisor.stop("bbs");
  await registry?.stop();
  supervisor.close();
  rmSync(home.servicesFile, { force: true });
  if (failed.length > 0) {
    throw new RefusedError(
      `the containers of ${failed.join(", ")} could not all be removed`,
      `see the logs in ${home.logs}; the next start cleans up`,
    );
  }
  out.note("muster: stopped; data is kept");
}
