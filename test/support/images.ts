// Images made on the spot from busybox-static with umoci, and pushed with skopeo: for tests and for the demonstration, without a network.
import { execFile } from "node:child_process";
import { chmod, copyFile, lstat, mkdir, mkdtemp, realpath, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { promisify } from "node:util";
import { pinRootFS, rootFSOfImage } from "@muster/garden/image-ref";

const run = promisify(execFile);

export interface TestImage {
  /** In the registry: `check/app`. */
  readonly name: string;
  readonly tag?: string;
  readonly entrypoint?: readonly string[];
  readonly cmd?: readonly string[];
  readonly env?: readonly string[];
  /** `8080/tcp` */
  readonly exposedPorts?: readonly string[];
  readonly user?: string;
  readonly workingDir?: string;
  /** Default: this machine's. */
  readonly architecture?: string;
  /** What `GET /` answers. */
  readonly page?: string;
  /** `/data` */
  readonly volumes?: readonly string[];
  /** Tar archives laid over busybox, in order; or, with `bare`, all there is. */
  readonly layers?: readonly LayerSource[];
  readonly bare?: boolean;
  /** How skopeo is to write it: `gzip` or `zstd` layers, `oci` or `v2s2` manifests. */
  readonly compression?: "gzip" | "zstd";
  readonly format?: "oci" | "v2s2";
}

/** An archive in memory, or a file of one. */
export type LayerSource = Uint8Array | { readonly file: string };

const applets = [
  "sh",
  "ash",
  "httpd",
  "id",
  "cat",
  "ls",
  "sleep",
  "echo",
  "env",
  "printf",
  "dd",
  "wget",
  "ps",
  "kill",
  "hostname",
  "tr",
  "head",
  "tail",
  "seq",
  "true",
  "false",
  "yes",
  "mount",
  "ip",
  "nc",
  "stat",
  "touch",
  "mkdir",
  "rm",
  "grep",
  "awk",
  "date",
  "df",
  "ping",
  "test",
  "ulimit",
  "nproc",
  "unshare",
  "timeout",
]; // prettier-ignore

/** The web server every demonstration starts with: busybox httpd on 8080. */
export const webCommand: readonly string[] = ["httpd", "-f", "-p", "8080", "-h", "/www"];

const architectures: Readonly<Record<string, string>> = { x64: "amd64", arm64: "arm64" };

async function makeRoot(root: string, page: string): Promise<void> {
  for (const folder of ["bin", "www", "etc", "tmp", "home/web", "root"]) await mkdir(join(root, folder), { recursive: true });
  await chmod(join(root, "tmp"), 0o1777);
  await copyFile("/bin/busybox", join(root, "bin", "busybox"));
  await Promise.all(applets.map((applet) => symlink("busybox", join(root, "bin", applet))));
  await writeFile(join(root, "www", "index.html"), page);
  await writeFile(join(root, "etc", "passwd"), "root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1000:web:/home/web:/bin/sh\n");
  await writeFile(join(root, "etc", "group"), "root:x:0:\nweb:x:1000:\nextra:x:2000:web\n");
}

const repeated = (flag: string, values: readonly string[]): string[] => values.flatMap((value) => [flag, value]);

/**
 * Builds an image into an OCI layout of its own below `workDir`. @returns what skopeo calls it: `oci:<folder>:image`.
 * Needs umoci and busybox-static.
 */
export async function buildImage(image: TestImage, workDir: string): Promise<string> {
  const dir = await mkdtemp(join(workDir, "image-"));
  const layout = join(dir, "layout");
  const tagged = `${layout}:image`;
  await run("umoci", ["init", "--layout", layout]);
  await run("umoci", ["new", "--image", tagged]);
  if (image.bare !== true) {
    await makeRoot(join(dir, "root"), image.page ?? "hello from muster\n");
    await run("umoci", ["insert", "--image", tagged, join(dir, "root"), "/"]);
  }
  for (const [at, layer] of (image.layers ?? []).entries()) {
    const file = "file" in layer ? layer.file : join(dir, `layer-${at}.tar`);
    if (!("file" in layer)) await writeFile(file, layer);
    await run("umoci", ["raw", "add-layer", "--image", tagged, file]);
  }
  await run("umoci", [
    "config",
    "--image",
    tagged,
    "--os",
    "linux",
    "--architecture",
    image.architecture ?? architectures[process.arch] ?? process.arch,
    ...repeated("--config.entrypoint", image.entrypoint ?? []),
    ...repeated("--config.cmd", image.cmd ?? webCommand),
    ...repeated("--config.env", image.env ?? ["PATH=/bin"]),
    ...repeated("--config.exposedports", image.exposedPorts ?? ["8080/tcp"]),
    ...repeated("--config.volume", image.volumes ?? []),
    ...(image.user === undefined ? [] : ["--config.user", image.user]),
    ...(image.workingDir === undefined ? [] : ["--config.workingdir", image.workingDir]),
  ]);
  return `oci:${tagged}`;
}

/** Builds an image and pushes it. @returns what a user types: `127.0.0.1:5000/check/app:v1`. */
export async function pushImage(host: string, image: TestImage, login?: { username: string; password: string }): Promise<string> {
  const workDir = await mkdtemp(join(tmpdir(), "muster-image-"));
  try {
    const source = await buildImage(image, workDir);
    const reference = `${host}/${image.name}:${image.tag ?? "v1"}`;
    const credentials = login === undefined ? [] : ["--dest-creds", `${login.username}:${login.password}`];
    const compression = image.compression === undefined ? [] : ["--dest-compress-format", image.compression];
    const flags = ["--dest-tls-verify=false", ...credentials, ...compression, "--format", image.format ?? "oci"];
    await run("skopeo", ["copy", "--quiet", ...flags, source, `docker://${reference}`]);
    return reference;
  } finally {
    await rm(workDir, { recursive: true, force: true });
  }
}

/** Pushes an image. @returns its name, and its rootfs with the digest the registry gives it: once it is cached, no registry is asked again. */
export async function pushPinned(host: string, image: TestImage): Promise<{ reference: string; rootFs: string }> {
  const reference = await pushImage(host, image);
  const accept = "application/vnd.oci.image.manifest.v1+json";
  const manifest = `http://${host}/v2/${image.name}/manifests/${image.tag ?? "v1"}`;
  const response = await fetch(manifest, { method: "HEAD", headers: { accept } });
  const digest = response.headers.get("docker-content-digest");
  if (digest === null) throw new Error(`the registry gives ${reference} no digest`);
  return { reference, rootFs: pinRootFS(rootFSOfImage(reference), digest) };
}

/** Packages a Debian cannot be without, and ping. */
const debianPackages = [
  "base-files",
  "bash",
  "coreutils",
  "dash",
  "findutils",
  "grep",
  "sed",
  "util-linux",
  "perl-base",
  "dpkg",
  "tar",
  "login",
  "passwd",
];

/**
 * Packs a Debian root out of this machine's own installed packages and the libraries they need: what debootstrap would unpack, without a
 * network, in seconds. @returns the archive's path in `dir`.
 */
export async function debianRoot(dir: string): Promise<string> {
  const { stdout: listed } = await run("dpkg-query", ["--listfiles", ...debianPackages], { maxBuffer: 64 * 1_048_576 });
  const names = listed.split("\n").filter((name) => name.startsWith("/") && name !== "/.");
  const programs = names.filter((name) => /^\/(usr\/)?s?bin\//.test(name));
  const { stdout: linked } = await run("sh", ["-c", 'ldd "$@" 2>/dev/null | grep -o "/[^ ]*" | sort -u', "sh", ...programs]);
  const libraries = linked.split("\n").filter((name) => name.startsWith("/") && !name.endsWith(":"));
  const folders = new Map<string, string>();
  const real = async (name: string): Promise<string[]> => {
    const folder = dirname(name);
    const known = folders.get(folder) ?? (await realpath(folder).catch(() => ""));
    folders.set(folder, known);
    const file = known === "" ? "" : join(known, basename(name));
    const seen = file === "" ? undefined : await lstat(file).catch(() => undefined);
    if (seen === undefined) return [];
    // A library is found by a link: both are needed.
    return seen.isSymbolicLink() ? [file, await realpath(file).catch(() => file)] : [file];
  };
  const files = (
    await Promise.all([...names, ...libraries, "/lib64/ld-linux-x86-64.so.2", "/bin", "/sbin", "/lib", "/lib64"].map(real))
  ).flat();
  const list = join(dir, "debian.list");
  await writeFile(list, [...new Set(files)].map((file) => file.slice(1)).join("\0"));
  const archive = join(dir, "debian.tar");
  const flags = [
    "--create",
    "--file",
    archive,
    "--directory",
    "/",
    "--no-recursion",
    "--null",
    "--ignore-failed-read",
    "--files-from",
    list,
  ];
  await run("tar", flags, { maxBuffer: 64 * 1_048_576 });
  const extra = join(dir, "extra");
  await mkdir(join(extra, "etc"), { recursive: true });
  await mkdir(join(extra, "tmp"));
  await chmod(join(extra, "tmp"), 0o1777);
  for (const name of ["passwd", "group"]) await copyFile(`/usr/share/base-passwd/${name}.master`, join(extra, "etc", name));
  await run("tar", ["--append", "--file", archive, "--directory", extra, "etc/passwd", "etc/group", "tmp"]);
  return archive;
}
