// Containers, as the executor sees them: one interface, drivers `runc` (real) and `simulated` (in memory only).
// Words are Diego's: a container has a handle, is created from an image, runs processes, is destroyed.

/** An image reference as a Diego rootfs URL: `docker://host/path#tag`, `docker:///library/redis@sha256#<hex>`, `preloaded:<stack>`. */
export type RootFSUrl = string;

export interface ImageCredentials {
  readonly username: string;
  readonly password: string;
}

/** What an image says of itself (OCI image config), resolved for this machine. */
export interface ImageMetadata {
  /** `sha256:<hex>` of the manifest for this machine's platform. */
  readonly digest: string;
  readonly entrypoint: readonly string[];
  readonly cmd: readonly string[];
  /** Empty means `/`. */
  readonly workingDir: string;
  /** As in the image: name, uid, `name:group` or empty for root. */
  readonly user: string;
  readonly env: readonly string[];
  /** TCP ports of EXPOSE, ascending. */
  readonly exposedTcpPorts: readonly number[];
}

export interface PortRequest {
  readonly containerPort: number;
}

export interface PortSpan {
  readonly start: number;
  readonly end: number;
}

/** One of Diego's security group rules. Source: bbs-semantics.md section 2.5. */
export interface EgressRule {
  /** tcp, udp, icmp, icmpv6 or all. */
  readonly protocol: string;
  /** Each one address, network (`10.0.0.0/8`) or range (`10.0.0.1-10.0.0.9`), or several with commas between. */
  readonly destinations: readonly string[];
  /** tcp and udp have either these or `portRange`. */
  readonly ports?: readonly number[];
  readonly portRange?: PortSpan | undefined;
  /** icmp and icmpv6 have it; -1 is any. */
  readonly icmp?: { readonly type: number; readonly code: number } | undefined;
  /** New connections that match are written to the kernel's log, at most ten a second. */
  readonly log?: boolean;
}

/** A volume of one of the cell's drivers. Source: cell.md section 10. */
export interface VolumeRequest {
  readonly driver: string;
  /** Absolute, inside. */
  readonly containerDir: string;
  /** `r` or `rw`. */
  readonly mode: string;
  readonly volumeId: string;
  /** JSON, for the driver; the driver `local` needs none. */
  readonly config?: string;
}

/** A file the container finds read-only at `/etc/cf-service-bindings/<path>`. */
export interface BoundFile {
  /** Relative. */
  readonly path: string;
  readonly content: Uint8Array;
}

/** A folder of this machine the cell itself lends, read-only: trusted certificates, unpacked dependencies. */
export interface LentFolder {
  readonly folder: string;
  readonly containerDir: string;
}

/** PEM, of the instance alone: found at `/etc/cf-instance-credentials/instance.crt` and `instance.key`. */
export interface InstanceIdentity {
  readonly certificate: string;
  readonly key: string;
}

export interface ContainerSpec {
  /** Unique on the cell: [A-Za-z0-9_-]{1,64}. Made into the runc id, the network namespace and folder names by the driver. */
  readonly handle: string;
  readonly rootFs: RootFSUrl;
  readonly credentials: ImageCredentials | undefined;
  /** Hard limits; 0 means none. */
  readonly memoryMb: number;
  readonly diskMb: number;
  readonly maxPids: number;
  /** 1 … 100; Diego's cpu_weight. 0 counts as 1. */
  readonly cpuWeight: number;
  readonly ports: readonly PortRequest[];
  /**
   * What it may reach, in force before its first process starts. An empty list is nothing but name servers, as in Diego. Left out: the
   * world. This machine and neighbours' own addresses are out of reach in either case, whatever the rules say.
   */
  readonly egress?: readonly EgressRule[] | undefined;
  readonly volumes?: readonly VolumeRequest[];
  /** At most 1 MiB together. */
  readonly files?: readonly BoundFile[];
  readonly folders?: readonly LentFolder[];
  /** Whether it has a folder for an identity; the caller writes it with `writeIdentity`, before the first process and at every renewal. */
  readonly hasIdentity?: boolean;
  /** NAME=value, above the image's own environment. */
  readonly env: readonly string[];
  /** Kept with the container and given back by `containers()`, across restarts of the rep (at most 64 KiB). */
  readonly properties: Readonly<Record<string, string>>;
  readonly hostname: string;
  /** The container outlives its first process: it ends when it is destroyed, and processes may follow each other until then. */
  readonly lasting?: boolean;
}

export interface MappedPort {
  readonly containerPort: number;
  readonly hostPort: number;
}

export interface ProcessSpec {
  /** Unique within the container; the first started is the one whose end the executor follows. */
  readonly id: string;
  /** Absolute, or looked up in PATH of the container's environment. */
  readonly path: string;
  readonly args: readonly string[];
  /** Empty means the image's working directory. */
  readonly dir: string;
  /** Empty means the image's user. */
  readonly user: string;
  readonly env: readonly string[];
  readonly nofile: number | undefined;
  /** One of many, as a health check is: nothing is kept of it once it has ended. Never the container's first. */
  readonly passing?: boolean;
}

/** In a lasting container this path is a shell of the cell's own, whatever its image holds. */
export const lentShell = "/dev/.muster/sh";

export type OutputStream = "stdout" | "stderr";
/** Called with raw chunks, not lines. `writtenAtMs` is when the process wrote them (epoch milliseconds), also for output of before this rep. */
export type OutputSink = (stream: OutputStream, chunk: Uint8Array, writtenAtMs: number) => void;

export interface ProcessExit {
  /** Exit status; 128 + n when killed by signal n. */
  readonly exitStatus: number;
  readonly signal: string | undefined;
  readonly outOfMemory: boolean;
}

export interface GardenProcess {
  readonly id: string;
  /** Settles once, also when the process ended while no rep was running. */
  readonly exited: Promise<ProcessExit>;
  /** SIGTERM, SIGKILL … to the process; a process that has ended is no error. */
  signal(name: "SIGTERM" | "SIGKILL"): Promise<void>;
}

export interface ContainerInfo {
  readonly handle: string;
  readonly state: "created" | "active" | "stopped";
  readonly properties: Readonly<Record<string, string>>;
  /** The container's own address, reachable from the cell. */
  readonly containerIp: string;
  /** Where mapped ports answer on this machine. */
  readonly hostIp: string;
  readonly ports: readonly MappedPort[];
  readonly imageDigest: string;
  /** The image's own environment, command and so on. */
  readonly image: ImageMetadata;
  readonly createdAtMs: number;
}

export interface ContainerUsage {
  readonly memoryBytes: number;
  readonly diskBytes: number;
  readonly cpuTimeNs: bigint;
  readonly pids: number;
}

/** A place inside a container, seen as a user of it. */
export interface StreamSpec {
  /** Absolute. Going in: the folder, made when it is not there. Coming out: a file or folder; a folder ending in `/` comes without its name. */
  readonly path: string;
  /** Empty means the image's user. */
  readonly user: string;
}

export interface Container {
  readonly handle: string;
  info(): ContainerInfo;
  /** Starts a process. @throws GardenError `process-failed` when it cannot be started (no such file, no such user). */
  run(spec: ProcessSpec, output: OutputSink): Promise<GardenProcess>;
  /**
   * Takes up a process that was started before this rep (adoption); `undefined` when it is not known. What is kept of its output (a bounded
   * tail) is given again from its start, with the times it was written at.
   */
  attach(processId: string, output: OutputSink): Promise<GardenProcess | undefined>;
  /** Writes or replaces its identity, each file at once. Only for a container that was made with `hasIdentity`. @throws GardenError */
  writeIdentity(identity: InstanceIdentity): Promise<void>;
  /** TCP connect to the container's address and port from the cell. Resolves to undefined, or to why not. */
  probeTcp(port: number, timeoutMs: number): Promise<string | undefined>;
  usage(): Promise<ContainerUsage>;
  /**
   * Unpacks a tar stream as the user, whether or not anything runs in the container. Nothing in the stream leads out of it.
   * @throws GardenError `stream-failed`, `no-space`, `process-failed` for a user it does not have; or the signal's reason.
   */
  streamIn(spec: StreamSpec, tar: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<void>;
  /** What is there, as a tar stream; the iteration throws as `streamIn` does. Ending it early is no error. */
  streamOut(spec: StreamSpec, signal: AbortSignal): AsyncIterable<Uint8Array>;
}

export interface GardenCapacity {
  readonly memoryMb: number;
  readonly diskMb: number;
  readonly containers: number;
}

/** Closed set, so that callers can tell what to do. */
export type GardenErrorCode =
  | "spec-invalid"
  | "volume-failed"
  | "image-not-found"
  | "image-unauthorized"
  | "image-unreachable"
  | "image-unsupported"
  | "image-invalid"
  | "no-space"
  | "handle-exists"
  | "handle-not-found"
  | "port-exhausted"
  | "process-failed"
  | "stream-failed"
  | "timeout"
  | "tool-failed";

/** `message` is fit for an app's crash reason; `cause` holds the tool's own words. */
export class GardenError extends Error {
  override readonly name = "GardenError";
  readonly code: GardenErrorCode;

  constructor(code: GardenErrorCode, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
  }
}

export interface Garden extends AsyncDisposable {
  /** Checks tools and kernel, makes folders and the bridge, removes what no container owns. @throws OperatorError naming what is missing. */
  start(signal: AbortSignal): Promise<void>;
  /** Cheap: is it answering at all? */
  ping(signal: AbortSignal): Promise<void>;
  capacity(): GardenCapacity;
  /** Fetches metadata only, never layers. @throws GardenError image-… */
  inspectImage(rootFs: RootFSUrl, credentials: ImageCredentials | undefined, signal: AbortSignal): Promise<ImageMetadata>;
  /**
   * Pulls the image if it is not cached, and makes the container with its network, limits and ports.
   * Leaves nothing behind when it throws or is aborted. @throws GardenError
   */
  create(spec: ContainerSpec, signal: AbortSignal): Promise<Container>;
  /** Every container of this garden, also those of an earlier rep. */
  containers(): Promise<readonly Container[]>;
  lookup(handle: string): Container | undefined;
  /** Kills what runs and removes everything the container had. Idempotent; resolves when it is proven gone. @throws GardenError */
  destroy(handle: string): Promise<void>;
  /** Leaves containers running (the rep detaches); frees only this process's own handles. */
  [Symbol.asyncDispose](): Promise<void>;
}
