// Images made on the spot from busybox-static with umoci, and pushed with skopeo: for tests and for the demonstration, without a network.
import { execFile } from "node:child_process";
import { chmod, copyFile, mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

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
  /** How skopeo is to write it: `gzip` or `zstd` layers, `oci` or `v2s2` manifests. */
  readonly compression?: "gzip" | "zstd";
  readonly format?: "oci" | "v2s2";
}

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
  await makeRoot(join(dir, "root"), image.page ?? "hello from muster\n");
  await run("umoci", ["init", "--layout", layout]);
  await run("umoci", ["new", "--image", tagged]);
  await run("umoci", ["insert", "--image", tagged, join(dir, "root"), "/"]);
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
