// The demo app's image, made on the spot from the machine's static busybox, so that a first app runs without a network.
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { chmod, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import path from "node:path";
import process from "node:process";
import { promisify } from "node:util";
import type { Clock } from "@muster/shared/clock";
import { OperatorError } from "@muster/shared/errors";
import { get } from "./http.js";
import { demoCommand, demoScript } from "./page.js";

const execute = promisify(execFile);
const repository = "muster/demo";
const tag = "v1";
/** The image's label that says which recipe and which busybox made it; another one is made and pushed anew. */
const recipeLabel = "muster.demo.recipe";
/** What the page and somebody looking around in a container need; every further name would be a link to the same file. */
const applets = [
  "sh",
  "httpd",
  "cat",
  "date",
  "echo",
  "env",
  "grep",
  "hostname",
  "id",
  "kill",
  "ls",
  "mkdir",
  "ps",
  "sleep",
  "wget",
];
/** Each tool takes well under a second; a disk that needs longer than this for 2 MB is not going to run a platform. */
const toolLimitMs = 60_000;

export interface DemoImageOptions {
  /** An existing folder of the home; the image is made in a folder of its own below it, which is gone afterwards. */
  readonly dir: string;
  /** `host:port` of a registry on loopback that speaks plain HTTP (see `startDemoRegistry`). */
  readonly registry: string;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

export interface DemoImage {
  /** For `push --docker-image`: `127.0.0.1:5055/muster/demo:v1`. */
  readonly reference: string;
  /** True when it was made now, false when the registry held it already. */
  readonly made: boolean;
}

/**
 * Makes sure that the registry holds the demo image of this build: an httpd that answers on `$PORT` (8080, exposed) with its
 * instance's index, guid and address. Costs one look at the registry when it is there, a second when it must be made.
 * Throws OperatorError when a tool is missing or fails, the signal's reason when aborted.
 */
export async function ensureDemoImage(options: DemoImageOptions): Promise<DemoImage> {
  const reference = `${options.registry}/${repository}:${tag}`;
  const busybox = await readBusybox();
  const recipe = createHash("sha256").update(demoScript).update(applets.join()).update(busybox).digest("hex");
  if ((await recipeHeld(options)) === recipe) return { reference, made: false };
  const work = await mkdtemp(path.join(options.dir, "demo-image-"));
  try {
    await makeImage(work, busybox, recipe, options.signal);
    const source = `oci:${path.join(work, "layout")}:${tag}`;
    await tool(
      "skopeo",
      ["--insecure-policy", "copy", "--dest-tls-verify=false", source, `docker://${reference}`],
      options.signal,
    );
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  return { reference, made: true };
}

/** The recipe label of the image the registry holds; `undefined` when it holds none. */
async function recipeHeld({ registry, clock, signal }: DemoImageOptions): Promise<string | undefined> {
  const accept = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json";
  const manifest = await get(`http://${registry}/v2/${repository}/manifests/${tag}`, { clock, signal, accept });
  if (manifest.status !== 200) return undefined;
  const { config } = JSON.parse(manifest.body) as { config?: { digest?: string } };
  const image = await get(`http://${registry}/v2/${repository}/blobs/${config?.digest}`, { clock, signal });
  if (image.status !== 200) return undefined;
  return (JSON.parse(image.body) as { config?: { Labels?: Record<string, string> } }).config?.Labels?.[recipeLabel];
}

async function makeImage(work: string, busybox: Buffer, recipe: string, signal: AbortSignal): Promise<void> {
  const layout = path.join(work, "layout");
  const image = `${layout}:${tag}`;
  const bundle = path.join(work, "bundle");
  const rootless = process.getuid?.() === 0 ? [] : ["--rootless"];
  await tool("umoci", ["init", "--layout", layout], signal);
  await tool("umoci", ["new", "--image", image], signal);
  await tool("umoci", ["unpack", ...rootless, "--image", image, bundle], signal);
  await fillRootfs(path.join(bundle, "rootfs"), busybox);
  await tool("umoci", ["repack", "--image", image, bundle], signal);
  await tool(
    "umoci",
    [
      ...["config", "--image", image, "--config.cmd", demoCommand, "--config.exposedports", "8080/tcp"],
      ...["--config.env", "PATH=/bin", "--config.label", `${recipeLabel}=${recipe}`],
    ],
    signal,
  );
}

async function fillRootfs(rootfs: string, busybox: Buffer): Promise<void> {
  for (const folder of ["bin", "etc", "tmp"]) await mkdir(path.join(rootfs, folder), { recursive: true });
  await chmod(path.join(rootfs, "tmp"), 0o1777);
  await writeFile(path.join(rootfs, "bin/busybox"), busybox, { mode: 0o755 });
  for (const applet of applets) await symlink("busybox", path.join(rootfs, "bin", applet));
  await writeFile(path.join(rootfs, "etc/passwd"), "root:x:0:0:root:/:/bin/sh\n");
  await writeFile(path.join(rootfs, "etc/group"), "root:x:0:\n");
  await writeFile(path.join(rootfs, demoCommand), demoScript, { mode: 0o755 });
}

/** The first busybox of PATH that needs no libraries: the image holds nothing else. */
async function readBusybox(): Promise<Buffer> {
  for (const folder of [...(process.env.PATH ?? "").split(":"), "/bin", "/usr/bin"]) {
    const program = await readFile(path.join(folder, "busybox")).catch(() => undefined);
    if (program !== undefined && isStatic(program)) return program;
  }
  throw new OperatorError("no statically linked busybox is found, which the demo image is made of", install("busybox-static"));
}

/** True for a 64-bit little-endian ELF file that names no interpreter (no program header of type PT_INTERP). */
export function isStatic(elf: Buffer): boolean {
  if (elf.length < 64 || elf.readUInt32BE(0) !== 0x7f454c46 || elf[4] !== 2 || elf[5] !== 1) return false;
  const [offset, size, count] = [Number(elf.readBigUInt64LE(0x20)), elf.readUInt16LE(0x36), elf.readUInt16LE(0x38)];
  const types = Array.from({ length: count }, (_, i) => offset + i * size).map((at) =>
    at + 4 <= elf.length ? elf.readUInt32LE(at) : 3,
  );
  return !types.includes(3);
}

const install = (name: string): string => `install it: apt-get install ${name}; or run up --no-demo`;

async function tool(name: string, args: readonly string[], signal: AbortSignal): Promise<void> {
  try {
    await execute(name, args, { signal, timeout: toolLimitMs, killSignal: "SIGKILL" });
  } catch (cause) {
    signal.throwIfAborted();
    const error = cause as NodeJS.ErrnoException & { stderr?: string };
    if (error.code === "ENOENT") throw new OperatorError(`${name} is missing, which makes the demo image`, install(name), cause);
    throw new OperatorError(
      `the demo image could not be made: ${name} ${args[0]}: ${(error.stderr ?? "").trim().slice(-500)}`,
      "mend that, or run up --no-demo",
      cause,
    );
  }
}
