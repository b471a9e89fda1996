// Registries, through skopeo: metadata without layers, and layers into a local OCI layout. Credentials live in a file of mode 0600 for
// the length of one call.
import { copyFile, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "@muster/shared/clock";
import type { ImageCredentials, ImageMetadata } from "../garden.js";
import { GardenError } from "../garden.js";
import { type Exec, ToolError } from "../tools/exec.js";
import { imageError } from "./errors.js";
import { choosePlatform, digestOf, hostPlatform, isZstd, type Manifest, parseConfig, parseManifest } from "./manifest.js";
import { displayImage, type ImageReference, registryOf, skopeoReference } from "./reference.js";

export interface RegistryOptions {
  readonly exec: Exec;
  /** For credentials and certificates; only root may read it. */
  readonly scratchDir: string;
  /** `host:port`, without scheme: plain HTTP or an unverified certificate is accepted from these. */
  readonly insecureRegistries: readonly string[];
  readonly registryCaFiles: readonly string[];
  /** With it a registry that fails is given time between two tries; without, they follow at once. */
  readonly clock?: Clock;
}

export interface ResolvedImage {
  readonly metadata: ImageMetadata;
  readonly manifest: Manifest;
}

/**
 * Diego's builder tries four times without a pause (docker-app.md section 3); we give the registry 0.25 s, 1 s and 4 s. A registry that says
 * when to come again (429 with Retry-After) is obeyed by skopeo itself, within the call.
 */
const attempts = 4;
const firstPauseMs = 250;
const pauseGrowth = 4;
/** Two requests that a busy registry puts off by a few seconds each fit in. */
const inspectTimeoutMs = 60_000;
/** A pull of some gigabytes over a slow line; past it the instance crashes with a reason and is tried again. */
const copyTimeoutMs = 15 * 60_000;
/** Registries bound manifests and configs to 4 MiB. */
const documentBytes = 4 * 1_048_576;

/** Whether time can mend it: not a certificate that is not trusted, nor a registry that speaks another protocol. */
const passes = (error: unknown): boolean =>
  !(error instanceof ToolError) || !/x509:|certificate|server gave HTTP response/i.test(error.stderr);

export class RegistryClient {
  readonly #options: RegistryOptions;
  #certDir: Promise<string | undefined> | undefined;

  constructor(options: RegistryOptions) {
    this.#options = options;
  }

  /** The image for this machine's platform: its digest, metadata and layers. @throws GardenError image-… */
  async resolve(
    reference: ImageReference,
    credentials: ImageCredentials | undefined,
    signal: AbortSignal,
  ): Promise<ResolvedImage> {
    return this.#withLogin(reference, credentials, signal, async (flags) => {
      const image = displayImage(reference);
      const raw = await this.#inspect(["--raw"], reference, flags, signal);
      const asked = reference.digest;
      if (asked !== undefined && digestOf(raw) !== asked) {
        throw new GardenError("image-invalid", `registry ${registryOf(reference)} answered with another manifest than ${asked}`);
      }
      const document = parseManifest(raw, image);
      if (document.kind === "manifest")
        return this.#describe({ ...reference, digest: digestOf(raw) }, document.manifest, flags, signal);
      const digest = choosePlatform(document.entries, hostPlatform(), image);
      const pinned = { ...reference, digest };
      const inner = await this.#inspect(["--raw"], pinned, flags, signal);
      const platform = parseManifest(inner, image);
      if (digestOf(inner) !== digest || platform.kind !== "manifest") {
        throw new GardenError("image-invalid", `registry ${registryOf(reference)} answered with another manifest than ${digest}`);
      }
      return this.#describe(pinned, platform.manifest, flags, signal);
    });
  }

  /** Fetches the layers of one digest into an OCI layout folder under the tag `image`. skopeo checks every blob's digest. */
  async copy(
    reference: ImageReference,
    manifest: Manifest,
    layoutDir: string,
    credentials: ImageCredentials | undefined,
    signal: AbortSignal,
  ): Promise<void> {
    await this.#withLogin(reference, credentials, signal, async (flags) => {
      const recompress = manifest.layers.some(isZstd) ? ["--dest-compress-format", "gzip"] : [];
      const sourceFlags = flags.map((flag) => flag.replace(/^--/, "--src-"));
      const source = skopeoReference(reference);
      const args = ["copy", "--quiet", ...sourceFlags, ...recompress, source, `oci:${layoutDir}:image`];
      // Blobs that came whole are kept: another try fetches the rest.
      await this.#persist(reference, signal, () => this.#options.exec("skopeo", args, { timeoutMs: copyTimeoutMs, signal }));
    });
  }

  /** Tries again while the registry cannot be reached, a few times. @throws GardenError image-…; the signal's reason once it is aborted. */
  async #persist<Result>(reference: ImageReference, signal: AbortSignal, call: () => Promise<Result>): Promise<Result> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await call();
      } catch (error) {
        signal.throwIfAborted();
        const seen = imageError(error, displayImage(reference), registryOf(reference));
        // One that was silent for the whole time is not asked again: four silences would be minutes.
        const silent = error instanceof ToolError && error.fault === "timeout";
        if (attempt >= attempts || seen.code !== "image-unreachable" || silent || !passes(error)) throw seen;
        await this.#options.clock?.sleep(firstPauseMs * pauseGrowth ** (attempt - 1), signal);
      }
    }
  }

  async #describe(
    reference: ImageReference,
    manifest: Manifest,
    flags: readonly string[],
    signal: AbortSignal,
  ): Promise<ResolvedImage> {
    const config = await this.#inspect(["--config", "--raw"], reference, flags, signal);
    if (digestOf(config) !== manifest.configDigest) {
      throw new GardenError(
        "image-invalid",
        `registry ${registryOf(reference)} answered with another config than ${manifest.configDigest}`,
      );
    }
    return { manifest, metadata: parseConfig(config, reference.digest ?? "", hostPlatform(), displayImage(reference)) };
  }

  async #inspect(
    what: readonly string[],
    reference: ImageReference,
    flags: readonly string[],
    signal: AbortSignal,
  ): Promise<Buffer> {
    const args = ["inspect", ...what, ...flags, skopeoReference(reference)];
    const options = { timeoutMs: inspectTimeoutMs, signal, maxOutputBytes: documentBytes };
    return (await this.#persist(reference, signal, () => this.#options.exec("skopeo", args, options))).stdout;
  }

  /** Runs `work` with skopeo's flags for this registry; every failure comes out as a GardenError, an abort as its reason. */
  async #withLogin<Result>(
    reference: ImageReference,
    credentials: ImageCredentials | undefined,
    signal: AbortSignal,
    work: (flags: readonly string[]) => Promise<Result>,
  ): Promise<Result> {
    signal.throwIfAborted();
    const registry = registryOf(reference);
    let loginDir: string | undefined;
    try {
      const flags: string[] = [];
      if (credentials === undefined) flags.push("--no-creds");
      else {
        await mkdir(this.#options.scratchDir, { recursive: true, mode: 0o700 });
        loginDir = await mkdtemp(join(this.#options.scratchDir, "login-"));
        const auth = Buffer.from(`${credentials.username}:${credentials.password}`).toString("base64");
        await writeFile(join(loginDir, "auth.json"), JSON.stringify({ auths: { [registry]: { auth } } }), { mode: 0o600 });
        flags.push(`--authfile=${join(loginDir, "auth.json")}`);
      }
      if (this.#options.insecureRegistries.includes(registry)) flags.push("--tls-verify=false");
      const certDir = await this.#certificates();
      if (certDir !== undefined) flags.push(`--cert-dir=${certDir}`);
      return await work(flags);
    } catch (error) {
      signal.throwIfAborted();
      throw imageError(error, displayImage(reference), registry);
    } finally {
      if (loginDir !== undefined) await rm(loginDir, { recursive: true, force: true });
    }
  }

  /** A folder of authorities, which skopeo adds to the system's. */
  #certificates(): Promise<string | undefined> {
    this.#certDir ??= (async () => {
      const { registryCaFiles, scratchDir } = this.#options;
      if (registryCaFiles.length === 0) return undefined;
      const folder = join(scratchDir, "registry-ca");
      await mkdir(folder, { recursive: true, mode: 0o700 });
      await Promise.all(registryCaFiles.map((file, index) => copyFile(file, join(folder, `${index}.crt`))));
      return folder;
    })();
    return this.#certDir;
  }
}
