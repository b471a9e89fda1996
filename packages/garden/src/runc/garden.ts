// The real garden: skopeo and umoci for images, overlay and loop-mounted ext4 for roots, CNI and iptables for networks, runc under conmon
// for processes. Each room does its own part; here they are put together, and taken apart again.
import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, rm, rmdir } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { join, resolve } from "node:path";
import type { Clock, Entropy } from "@muster/shared/clock";
import { Turnstile } from "@muster/shared/flight";
import type { Log } from "@muster/shared/log";
import type { Container, ContainerSpec, Garden, GardenCapacity, ImageCredentials, ImageMetadata, RootFSUrl } from "../garden.js";
import { GardenError } from "../garden.js";
import { RegistryClient } from "../image/registry.js";
import { type CachedImage, ImageStore } from "../image/store.js";
import { checkEgress } from "../network/egress.js";
import { Forwarding } from "../network/forwarding.js";
import { CellNetwork, networkFault } from "../network/network.js";
import type { Mapping } from "../network/plan.js";
import type { PortRange } from "../network/ports.js";
import { type Exec, lastWords, makeExec } from "../tools/exec.js";
import { makeFolder, readIfThere, readJson } from "../tools/files.js";
import { lockFile } from "../tools/lock.js";
import { checkFiles } from "./bound-files.js";
import { machineCgroups } from "./cgroup.js";
import { type ContainerTools, nofileCeiling, RuncContainer } from "./container.js";
import { nameserversOf } from "./etc.js";
import {
  type CellLayout,
  cellLayout,
  containerLayout,
  forwardingFile,
  idBaseOf,
  machineLock,
  resolvedHome,
  runRoot,
} from "./layout.js";
import { ContainerMaker } from "./maker.js";
import { mountPoints } from "./mounts.js";
import { asContainerRecord, type ContainerRecord } from "./records.js";
import { handlePattern, listFolder, Remover } from "./remover.js";
import { type SeccompProfile, seccompFor } from "./seccomp.js";
import { capabilities } from "./spec.js";
import { findLentTools, type LentTools } from "./stream.js";
import { findTools, seccompFile, type Tools } from "./tools.js";
import { checkPlace, checkVolumes, type LocalVolume, localDriver, type VolumeDriver } from "./volumes.js";

export interface RuncGardenOptions {
  /** The platform's home folder; cells of one home share images and the ids of containers. */
  readonly home: string;
  readonly cellId: string;
  /** Where mapped ports answer; nowhere else. */
  readonly hostAddress: string;
  readonly portRange: PortRange;
  readonly capacity: GardenCapacity;
  readonly insecureRegistries: readonly string[];
  readonly registryCaFiles: readonly string[];
  /** Shared by the cells of one home; locked between them. */
  readonly imageCacheDir: string;
  /**
   * `address` or `address:port`, where the platform itself answers on other machines: refused to containers before their own rules are
   * asked. This machine's own addresses need not be named.
   */
  readonly protectedAddresses?: readonly string[];
  /** What the volume driver `local` offers, by name. Without any there is no such driver. */
  readonly localVolumes?: Readonly<Record<string, LocalVolume>>;
  /** Further volume drivers, by name. */
  readonly volumeDrivers?: Readonly<Record<string, VolumeDriver>>;
  /** What the cache may hold on the disk; default 10,000,000,000 bytes, as Diego's. Images in use may exceed it. */
  readonly imageCacheBytes?: number;
  /** What one image may take, its layers as well as its root; default 8,000,000,000 bytes. */
  readonly maxImageBytes?: number;
  /** No tool is given longer than this, whatever it does; each has a deadline of its own, from 10 s for a mount to 15 min for a pull. */
  readonly toolDeadlineMs?: number;
  /** Where CNI plugins may be; default Debian's and upstream's folders. */
  readonly cniPluginDirs?: readonly string[];
  /** Holds `<stack>.tar`, `<stack>.tar.gz` or `<stack>.tgz` for each stack that `preloaded:<stack>` may name. */
  readonly preloadedDir?: string;
  readonly clock: Clock;
  readonly entropy: Entropy;
  readonly log: Log;
}

export interface RuncGarden extends Garden {
  /** Names of the volume drivers it has; sorted. */
  volumeDrivers(): readonly string[];
  /** Stacks there are a preloaded root for; sorted. */
  preloadedStacks(): Promise<readonly string[]>;
  /** Destroys every container and takes away bridge, rules, folders and cgroups of the cell; images stay. For the end of `up`. */
  removeEverything(): Promise<void>;
}

const maxPropertiesBytes = 65_536;
/** It goes into /etc/hosts; the kernel's limit is 64. */
const hostnamePattern = /^[A-Za-z0-9._-]{1,64}$/;
/** Each start and end runs a dozen short tools; more of them at once than cores only make all of them, and the rep, late. */
const parallelStarts = Math.max(3, availableParallelism());
const parallelDestroys = parallelStarts;
/** Source: cell.md section 6. */
const defaultCacheBytes = 10_000_000_000;
/** After SIGKILL a process is gone at once, unless the kernel holds it. */
const killWaitMs = 5_000;
/** Whoever holds the machine's lock is making or removing a network: seconds on a machine that is out of breath. */
const machineLockMs = 60_000;

/** One container on its way to be: destroy takes it back. */
interface Creation {
  readonly abort: AbortController;
  readonly done: Promise<unknown>;
}

class RealGarden implements RuncGarden {
  readonly #options: RuncGardenOptions;
  readonly #exec: Exec;
  readonly #cell: CellLayout;
  readonly #idBase: number;
  readonly #containers = new Map<string, RuncContainer>();
  readonly #creations = new Map<string, Creation>();
  readonly #destroying = new Map<string, Promise<void>>();
  /** Containers that could not be removed, and why: tried again at every ping, which fails until they are gone. */
  readonly #stuck = new Map<string, string>();
  #retrying: Promise<void> | undefined;
  readonly #starts = new Turnstile(parallelStarts);
  readonly #destroys = new Turnstile(parallelDestroys);
  readonly #drivers: ReadonlyMap<string, VolumeDriver>;
  readonly #forwarding = new Forwarding(forwardingFile);
  #parts:
    | { images: ImageStore; network: CellNetwork; tools: ContainerTools; remover: Remover; maker: ContainerMaker }
    | undefined;
  #bootId = "";
  #lent: Promise<LentTools> | undefined;

  constructor(options: RuncGardenOptions) {
    const home = resolvedHome(options.home);
    this.#options = { ...options, home };
    this.#exec = makeExec(options.clock, options.toolDeadlineMs);
    this.#cell = cellLayout(home, options.cellId);
    this.#idBase = idBaseOf(home);
    const { localVolumes, volumeDrivers = {} } = options;
    this.#drivers = new Map([
      ...(localVolumes === undefined ? [] : [["local", localDriver(localVolumes)] as const]),
      ...Object.entries(volumeDrivers),
    ]);
  }

  async start(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const found = findTools(undefined, this.#options.cniPluginDirs);
    await machineCgroups.prepare(this.#cell.cgroupParent);
    this.#bootId = (await readFile("/proc/sys/kernel/random/boot_id", "utf8")).trim();
    const { runDir, homeRunDir, containersDir, dataDir } = this.#cell;
    for (const folder of [runRoot, homeRunDir, runDir, containersDir]) await makeFolder(folder, 0o711);
    await mkdir(dataDir, { recursive: true, mode: 0o700 });
    const parts = await this.#assemble(found);
    const { images, network } = parts;
    await Promise.all([images.open(), network.open().catch((error: unknown) => Promise.reject(networkFault(error)))]);
    this.#parts = parts;
    await this.#takeUp();
    signal.throwIfAborted();
  }

  async ping(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    await this.#exec(this.#assembled().tools.runcPath, ["--version"], { timeoutMs: 10_000, signal });
    const [first] = this.#stuck;
    if (first === undefined) return;
    this.#retrying ??= this.#retryStuck().finally(() => {
      this.#retrying = undefined;
    });
    const others = this.#stuck.size > 1 ? ` and ${this.#stuck.size - 1} others` : "";
    throw new GardenError("tool-failed", `container ${first[0]}${others} could not be removed: ${first[1]}`);
  }

  async #retryStuck(): Promise<void> {
    for (const handle of this.#stuck.keys()) await this.destroy(handle).catch(() => {});
  }

  capacity(): GardenCapacity {
    return this.#options.capacity;
  }

  preloadedStacks(): Promise<readonly string[]> {
    return this.#assembled().images.preloaded.stacks();
  }

  volumeDrivers(): readonly string[] {
    return [...this.#drivers.keys()].sort();
  }

  inspectImage(rootFs: RootFSUrl, credentials: ImageCredentials | undefined, signal: AbortSignal): Promise<ImageMetadata> {
    return this.#assembled().images.inspect(rootFs, credentials, signal);
  }

  async create(spec: ContainerSpec, signal: AbortSignal): Promise<Container> {
    signal.throwIfAborted();
    checkSpec(spec);
    checkVolumes(spec.volumes ?? [], this.#drivers);
    const { handle } = spec;
    if ([this.#containers, this.#creations, this.#destroying, this.#stuck].some((known) => known.has(handle))) {
      throw new GardenError("handle-exists", `container ${handle} exists already`);
    }
    const abort = new AbortController();
    const either = AbortSignal.any([signal, abort.signal]);
    const making = this.#create(spec, either);
    this.#creations.set(handle, { abort, done: making.catch(() => {}) });
    try {
      return await making;
    } finally {
      this.#creations.delete(handle);
    }
  }

  async containers(): Promise<readonly Container[]> {
    return [...this.#containers.values()];
  }

  lookup(handle: string): Container | undefined {
    return this.#containers.get(handle);
  }

  destroy(handle: string): Promise<void> {
    const going = this.#destroying.get(handle);
    if (going !== undefined) return going;
    const destroying = this.#destroys
      .run(new AbortController().signal, () => this.#destroy(handle))
      .then(
        () => void this.#stuck.delete(handle),
        (error: unknown) => {
          this.#stuck.set(handle, lastWords(error));
          throw error;
        },
      )
      .finally(() => this.#destroying.delete(handle));
    this.#destroying.set(handle, destroying);
    return destroying;
  }

  async removeEverything(): Promise<void> {
    const { network, remover } = this.#assembled();
    await Promise.all([...this.#creations.keys(), ...this.#containers.keys()].map((handle) => this.destroy(handle)));
    for (const handle of await remover.traces()) await remover.remove(handle);
    await network.remove();
    for (const folder of machineCgroups.folders(this.#cell.cgroupParent)) await rmdir(folder).catch(() => {});
    await rm(this.#cell.dataDir, { recursive: true, force: true });
    await rm(this.#cell.runDir, { recursive: true, force: true });
    // Another cell, or another home, may still be in them.
    await rmdir(this.#cell.homeRunDir).catch(() => {});
    await this.#leaveMachine();
  }

  /** The last cell of the machine puts back what belongs to the machine. */
  async #leaveMachine(): Promise<void> {
    const lock = await lockFile(this.#options.clock, machineLock, machineLockMs).catch((error: unknown) => {
      // Another cell was the last, and took the folder with it.
      if (existsSync(runRoot)) throw error;
      return undefined;
    });
    if (lock === undefined) return;
    await using _held = lock;
    const others = (await listFolder(runRoot)).map((name) => join(runRoot, name));
    if (!others.every((path) => path === machineLock || path === forwardingFile)) return;
    await this.#forwarding.restore();
    await rm(machineLock, { force: true });
    await rmdir(runRoot).catch(() => {});
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const creation of this.#creations.values())
      creation.abort.abort(new GardenError("tool-failed", "the cell is being shut down"));
    await Promise.all([...this.#creations.values()].map((creation) => creation.done));
    await Promise.all([...this.#containers.values()].map((container) => container.detach()));
  }

  #assembled() {
    if (this.#parts === undefined) throw new GardenError("tool-failed", "the garden was not started");
    return this.#parts;
  }

  async #assemble(found: Tools) {
    const {
      clock,
      home,
      cellId,
      hostAddress,
      portRange,
      insecureRegistries,
      registryCaFiles,
      imageCacheDir,
      imageCacheBytes,
      maxImageBytes,
      preloadedDir,
      log,
    } = this.#options;
    const exec = this.#exec;
    const scratchDir = join(this.#cell.runDir, "scratch");
    const registry = new RegistryClient({ clock, exec, scratchDir, insecureRegistries, registryCaFiles });
    const images = new ImageStore({
      clock,
      exec,
      registry,
      dir: resolve(imageCacheDir),
      limitBytes: imageCacheBytes ?? defaultCacheBytes,
      ...(maxImageBytes === undefined ? {} : { maxImageBytes }),
      preloadedDir,
      log,
      idBase: this.#idBase,
    });
    const network = new CellNetwork({
      clock,
      exec,
      home,
      cellId,
      hostAddress,
      portRange,
      pluginDir: found.pluginDir,
      runDir: this.#cell.runDir,
      machineLock,
      forwarding: this.#forwarding,
      protectedAddresses: this.#options.protectedAddresses ?? [],
    });
    const profile = JSON.parse(await readFile(seccompFile, "utf8")) as SeccompProfile;
    const tools: ContainerTools = {
      clock,
      exec,
      log,
      runcPath: found.runc,
      cell: this.#cell,
      hostIp: hostAddress,
      idBase: this.#idBase,
      seccomp: seccompFor(profile, capabilities),
      nofileCeiling: await nofileCeiling(),
      toolDeadlineMs: this.#options.toolDeadlineMs,
      netnsFile: (handle) => network.netnsFile(handle),
      lent: () => this.#lentTools(),
      starts: this.#starts,
    };
    const remover = new Remover({ clock, exec, cell: this.#cell, network, runcPath: found.runc });
    const maker = new ContainerMaker({
      clock,
      exec,
      log,
      network,
      cell: this.#cell,
      idBase: this.#idBase,
      bootId: this.#bootId,
      drivers: this.#drivers,
    });
    return { images, network, tools, remover, maker };
  }

  /** Looked for once it is needed; looked for again if that failed. */
  #lentTools(): Promise<LentTools> {
    this.#lent ??= findLentTools(this.#exec).catch((error: unknown) => {
      this.#lent = undefined;
      throw error;
    });
    return this.#lent;
  }

  async #create(spec: ContainerSpec, signal: AbortSignal): Promise<Container> {
    const { images, remover } = this.#assembled();
    try {
      // A pull takes its time elsewhere: it must not keep containers of cached images waiting.
      const image = await images.ensure(spec.rootFs, spec.credentials, signal);
      return await this.#starts.run(signal, () => this.#make(spec, image, signal));
    } catch (error) {
      await this.#assembled().maker.unmountVolumes(spec.handle, spec.volumes ?? []);
      await remover.remove(spec.handle).catch((cause: unknown) => {
        this.#stuck.set(spec.handle, lastWords(cause));
        this.#options.log.error({ err: cause, instance_guid: spec.handle }, "what a failed create left could not be removed");
      });
      signal.throwIfAborted();
      if (error instanceof GardenError) throw error;
      throw new GardenError("tool-failed", `the container could not be created (${lastWords(error)})`, error);
    }
  }

  async #make(spec: ContainerSpec, image: CachedImage, signal: AbortSignal): Promise<Container> {
    const { maker, tools } = this.#assembled();
    const { record, opened } = await maker.make(spec, image, signal);
    const container = new RuncContainer(tools, record, opened);
    this.#containers.set(spec.handle, container);
    return container;
  }

  async #destroy(handle: string): Promise<void> {
    const creation = this.#creations.get(handle);
    creation?.abort.abort(new GardenError("handle-not-found", `container ${handle} was destroyed while it was being made`));
    await creation?.done;
    const container = this.#containers.get(handle);
    await container?.kill(killWaitMs);
    await this.#assembled().remover.remove(handle);
    await this.#assembled().maker.unmountVolumes(handle, container?.volumes ?? []);
    await container?.detach();
    this.#containers.delete(handle);
  }

  /** Adopts what can be adopted and removes the rest. */
  async #takeUp(): Promise<void> {
    const { network, tools, remover } = this.#assembled();
    const mounted = new Set(await mountPoints());
    const adopted: ContainerRecord[] = [];
    for (const handle of await readdir(this.#cell.containersDir)) {
      const layout = containerLayout(this.#cell, handle);
      const record = asContainerRecord(await readJson(layout.recordFile), this.#bootId);
      if (
        record !== undefined &&
        mounted.has(layout.rootfs) &&
        mounted.has(network.netnsFile(handle)) &&
        mounted.has(layout.userns)
      )
        adopted.push(record);
    }
    await network.adopt(await Promise.all(adopted.map((record) => this.#mappingOf(record))));
    const statuses = await this.#runcStatuses(tools.runcPath);
    const takeUp = async (record: ContainerRecord): Promise<void> => {
      const { handle } = record.spec;
      const container = new RuncContainer(tools, record, Promise.resolve());
      this.#containers.set(handle, container);
      const ask = async (): Promise<string | undefined> => (await this.#runcStatuses(tools.runcPath)).get(handle);
      await container.resume(statuses.get(handle), ask).catch(() => {});
      await container.adopt();
    };
    await Promise.all(adopted.map(takeUp));
    const orphans = (await remover.traces()).filter((handle) => !this.#containers.has(handle));
    for (const handle of orphans) {
      this.#options.log.warn({ instance_guid: handle }, "removing what is left of a container");
      await remover.remove(handle);
    }
  }

  async #mappingOf({ spec, containerIp, ports }: ContainerRecord): Promise<Mapping> {
    const resolv = await readIfThere(join(containerLayout(this.#cell, spec.handle).etcDir, "resolv.conf"));
    return { handle: spec.handle, containerIp, ports, egress: spec.egress, nameservers: nameserversOf(resolv ?? "") };
  }

  async #runcStatuses(runcPath: string): Promise<Map<string, string>> {
    const { stdout } = await this.#exec(runcPath, ["--root", this.#cell.runcRoot, "list", "--format", "json"]);
    const rows = (JSON.parse(stdout.toString("utf8")) as { id: string; status: string }[] | null) ?? [];
    return new Map(rows.map(({ id, status }) => [id, status]));
  }
}

function checkSpec(spec: ContainerSpec): void {
  if (!handlePattern.test(spec.handle))
    throw new GardenError("spec-invalid", `"${spec.handle}" is no handle: A-Z a-z 0-9 _ - only, at most 64`);
  checkEgress(spec.egress);
  checkFiles(spec.files ?? []);
  for (const { containerDir } of spec.folders ?? []) checkPlace(containerDir);
  if (!hostnamePattern.test(spec.hostname)) throw new GardenError("spec-invalid", `"${spec.hostname}" is no host name`);
  if (Buffer.byteLength(JSON.stringify(spec.properties)) > maxPropertiesBytes) {
    throw new GardenError(
      "spec-invalid",
      `the properties of container ${spec.handle} are larger than ${maxPropertiesBytes} bytes`,
    );
  }
}

/** The garden of one cell on this machine. Needs root and the tools that `start` checks for. */
export const openRuncGarden = (options: RuncGardenOptions): RuncGarden => new RealGarden(options);
