// Containers that exist in memory only, with start times and failures drawn from one seed: for the simulator, scale tests and
// demonstrations (`--runtime simulated`), never for a user's app. Time and chance come from the Clock and Entropy given.
import { createHash } from "node:crypto";
import type { Clock, Entropy } from "@muster/shared/clock";
import type {
  Container,
  ContainerInfo,
  ContainerSpec,
  Garden,
  GardenCapacity,
  ImageMetadata,
  ProcessExit,
  ProcessSpec,
} from "../garden.js";
import { GardenError } from "../garden.js";
import { stackOf } from "../image/preloaded.js";
import { ImageReferenceError, parseRootFS } from "../image/reference.js";
import { PortPool } from "../network/ports.js";
import { SimulatedContainer } from "./container.js";

/** What a simulated process does of itself: nothing (`undefined`: it runs until signalled), or it ends. */
export interface SimulatedEnd {
  readonly afterMs: number;
  readonly exit: ProcessExit;
}

export interface SimulatedGardenOptions {
  readonly clock: Clock;
  readonly entropy: Entropy;
  readonly capacity: GardenCapacity;
  readonly hostAddress: string;
  readonly portRange: { readonly first: number; readonly last: number };
  /** Bounds of what a create takes. Default 20 … 120 ms. */
  readonly createMs?: { readonly min: number; readonly max: number };
  /** Bounds of the time from run to the first successful probe. Default 5 … 50 ms. */
  readonly readyMs?: { readonly min: number; readonly max: number };
  /** How many of a thousand creates fail with `tool-failed`. Default 0. */
  readonly createFailuresPerThousand?: number;
  /** What an image says of itself; `undefined` means there is no such image. Default: any docker URL and any stack exists, listening on 8080. */
  readonly images?: (rootFs: string) => Omit<ImageMetadata, "digest"> | undefined;
  /** What is found at a path of a container, as a tar stream, when nothing was streamed there before. Default: nothing is there. */
  readonly files?: (container: ContainerSpec, path: string) => Uint8Array | undefined;
  /** What a process does of itself. Default: it runs until it is signalled. */
  readonly behaviour?: (container: ContainerSpec, process: ProcessSpec) => SimulatedEnd | undefined;
}

export interface SimulatedGarden extends Garden {
  /** Ends the container's first process, as if it had died of itself. A handle that is not known is no error. */
  crash(handle: string, exit?: Partial<ProcessExit>): void;
  /** Loses every container at once, as a machine that lost its power. */
  losePower(): void;
  /** What a container's processes are doing, without the cost of the whole of its `info()`. */
  stateOf(handle: string): ContainerInfo["state"] | undefined;
  /** While true, no call but `capacity` and `lookup` returns: a garden that hangs. */
  hang(hung: boolean): void;
}

const plainImage: Omit<ImageMetadata, "digest"> = {
  entrypoint: [],
  cmd: ["/bin/app"],
  workingDir: "",
  user: "",
  env: ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
  exposedTcpPorts: [8080],
};

class InMemoryGarden implements SimulatedGarden {
  readonly #options: SimulatedGardenOptions;
  readonly #containers = new Map<string, SimulatedContainer>();
  readonly #creating = new Set<string>();
  readonly #ports: PortPool;
  #unhang: (() => void) | undefined;
  #hung: Promise<void> | undefined;
  #addresses = 0;

  constructor(options: SimulatedGardenOptions) {
    this.#options = options;
    this.#ports = new PortPool(options.portRange);
  }

  async start(): Promise<void> {
    await this.#hung;
  }

  async ping(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    await this.#hung;
  }

  capacity(): GardenCapacity {
    return this.#options.capacity;
  }

  async inspectImage(rootFs: string, _credentials: unknown, signal: AbortSignal): Promise<ImageMetadata> {
    signal.throwIfAborted();
    await this.#hung;
    return this.#image(rootFs);
  }

  async create(spec: ContainerSpec, signal: AbortSignal): Promise<Container> {
    const { clock, entropy } = this.#options;
    signal.throwIfAborted();
    if (this.#containers.has(spec.handle) || this.#creating.has(spec.handle)) {
      throw new GardenError("handle-exists", `container ${spec.handle} exists already`);
    }
    this.#creating.add(spec.handle);
    try {
      const { min, max } = this.#options.createMs ?? { min: 20, max: 120 };
      const fails = entropy.below(1_000) < (this.#options.createFailuresPerThousand ?? 0);
      await clock.sleep(min + entropy.below(max - min + 1), signal);
      await this.#hung;
      signal.throwIfAborted();
      if (fails) throw new GardenError("tool-failed", "the simulated container could not be created");
      return this.#add(spec, this.#image(spec.rootFs));
    } finally {
      this.#creating.delete(spec.handle);
    }
  }

  async containers(): Promise<readonly Container[]> {
    await this.#hung;
    return [...this.#containers.values()];
  }

  lookup(handle: string): Container | undefined {
    return this.#containers.get(handle);
  }

  stateOf(handle: string): ContainerInfo["state"] | undefined {
    return this.#containers.get(handle)?.state;
  }

  async destroy(handle: string): Promise<void> {
    await this.#hung;
    this.#remove(handle);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // Containers outlive the rep that detaches, as the real driver's do.
  }

  crash(handle: string, exit: Partial<ProcessExit> = {}): void {
    this.#containers.get(handle)?.endFirst({ exitStatus: 1, signal: undefined, outOfMemory: false, ...exit });
  }

  losePower(): void {
    for (const handle of [...this.#containers.keys()]) this.#remove(handle);
  }

  hang(hung: boolean): void {
    if (hung && this.#hung === undefined) {
      this.#hung = new Promise((resolve) => {
        this.#unhang = resolve;
      });
    } else if (!hung) {
      this.#unhang?.();
      this.#hung = undefined;
    }
  }

  #add(spec: ContainerSpec, image: ImageMetadata): SimulatedContainer {
    const ports = this.#ports.take(
      spec.handle,
      spec.ports.map((port) => port.containerPort),
    );
    this.#addresses += 1;
    const n = this.#addresses;
    const container = new SimulatedContainer(this.#options, spec, {
      handle: spec.handle,
      properties: { ...spec.properties },
      containerIp: `10.255.${(n >> 8) & 255}.${n & 255}`,
      hostIp: this.#options.hostAddress,
      ports,
      imageDigest: image.digest,
      image,
      createdAtMs: this.#options.clock.nowMs(),
    });
    this.#containers.set(spec.handle, container);
    return container;
  }

  #remove(handle: string): void {
    this.#containers.get(handle)?.kill();
    this.#containers.delete(handle);
    this.#ports.giveBack(handle);
  }

  #image(rootFs: string): ImageMetadata {
    const found = (this.#options.images ?? (() => plainImage))(rootFs);
    if (found === undefined) throw new GardenError("image-not-found", `there is no image ${rootFs}`);
    try {
      const { digest } = stackOf(rootFs) === undefined ? parseRootFS(rootFs) : { digest: undefined };
      return { digest: digest ?? `sha256:${createHash("sha256").update(rootFs).digest("hex")}`, ...found };
    } catch (error) {
      if (error instanceof ImageReferenceError) throw new GardenError("image-invalid", error.message, error);
      throw error;
    }
  }
}

/** A garden whose containers exist in memory only. The same options and calls give the same times and outcomes. */
export const openSimulatedGarden = (options: SimulatedGardenOptions): SimulatedGarden => new InMemoryGarden(options);
