// A Docker engine for comparison: the real dockerd, in namespaces of its own, so that no bridge, rule, mount or process of it outlives it.
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { openSync, readFileSync } from "node:fs";
import { access, constants, mkdtemp, readdir, rm, rmdir } from "node:fs/promises";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";

const run = promisify(execFile);

/** Loading its own plugins and looking at the kernel takes the engine a second or two. */
const startMs = 30_000;
const cgroupParent = `muster-bench-docker-${process.pid}`;

/** Where a program is on the PATH; `undefined` when it is not. */
async function found(program: string): Promise<string | undefined> {
  for (const folder of (process.env.PATH ?? "").split(delimiter)) {
    const file = join(folder, program);
    const runs = await access(file, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (runs) return file;
  }
  return undefined;
}

export interface EngineFacts {
  readonly engine: string;
  readonly client: string;
  readonly storage_driver: string;
}

/** One container more, as `docker run -d` would make it: a port published on 127.0.0.1, limits of memory and processes. */
export interface DockerContainer {
  readonly image: string;
  readonly command: readonly string[];
  readonly memoryMb: number;
  readonly maxPids: number;
  readonly port: number;
}

export class DockerEngine implements AsyncDisposable {
  readonly #dir: string;
  readonly #child: ChildProcess;
  readonly #socket: string;

  private constructor(dir: string, child: ChildProcess) {
    this.#dir = dir;
    this.#child = child;
    this.#socket = join(dir, "sock");
  }

  /** Resolves with the engine, or with why there is none. */
  static async start(): Promise<DockerEngine | { readonly not_measured: string }> {
    const [daemon, client] = await Promise.all([found("dockerd"), found("docker")]);
    if (daemon === undefined) return { not_measured: "no dockerd on PATH (Debian's package is docker.io)" };
    if (client === undefined) return { not_measured: "no docker on PATH" };
    const dir = await mkdtemp(join(tmpdir(), "muster-docker-"));
    const log = openSync(join(dir, "log"), "w");
    const at = (name: string): string => join(dir, name);
    const flags = [
      "--data-root",
      at("data"),
      "--exec-root",
      at("exec"),
      "--pidfile",
      at("pid"),
      "--host",
      `unix://${at("sock")}`,
    ];
    // The shell is process 1 of the namespace and sees orphans off; with it everything in it ends.
    const script = 'ip link set lo up && dockerd "$@"; exit $?';
    const spaces = ["--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"];
    const args = [...spaces, "sh", "-c", script, "dockerd", ...flags, "--cgroup-parent", `/${cgroupParent}`];
    const child = spawn("unshare", args, { stdio: ["ignore", log, log] });
    const engine = new DockerEngine(dir, child);
    const deadline = performance.now() + startMs;
    while (!(await engine.#answers())) {
      if (child.exitCode === null && performance.now() < deadline) {
        await sleep(50);
        continue;
      }
      const last = readFileSync(at("log"), "utf8").trim().split("\n").at(-1) ?? "";
      await engine[Symbol.asyncDispose]();
      return { not_measured: `dockerd did not start: ${last.slice(0, 500)}` };
    }
    return engine;
  }

  async facts(): Promise<EngineFacts> {
    const [info, version] = await Promise.all([
      this.#call("GET", "/info"),
      this.#docker("version", "--format", "{{.Client.Version}}"),
    ]);
    const { ServerVersion, Driver } = info as { ServerVersion: string; Driver: string };
    return { engine: ServerVersion, client: version.trim(), storage_driver: Driver };
  }

  /** Takes in an image of a registry that this machine can reach over plain HTTP, under the same name and tag. */
  async load(reference: string, image: string): Promise<void> {
    const archive = join(this.#dir, "image.tar");
    const from = ["--src-tls-verify=false", `docker://${reference}`];
    await run("skopeo", ["copy", "--quiet", ...from, `docker-archive:${archive}:${image}`]);
    await this.#docker("load", "--quiet", "--input", archive);
    await rm(archive);
  }

  /** `docker run -d`, the command itself. @returns the container's id. */
  async runDetached({ image, command, memoryMb, maxPids, port }: DockerContainer): Promise<string> {
    const limits = ["--memory", `${memoryMb}m`, "--pids-limit", String(maxPids), "--publish", `127.0.0.1::${port}`];
    return (await this.#docker("run", "--detach", ...limits, image, ...command)).trim();
  }

  /** The same without the command: two calls of the engine's API. @returns the container's id. */
  async createAndStart({ image, command, memoryMb, maxPids, port }: DockerContainer): Promise<string> {
    const exposed = `${port}/tcp`;
    const created = await this.#call("POST", "/containers/create", {
      Image: image,
      Cmd: command,
      ExposedPorts: { [exposed]: {} },
      HostConfig: {
        Memory: memoryMb * 1_048_576,
        PidsLimit: maxPids,
        PortBindings: { [exposed]: [{ HostIp: "127.0.0.1", HostPort: "" }] },
      },
    });
    const { Id } = created as { Id: string };
    await this.#call("POST", `/containers/${Id}/start`);
    return Id;
  }

  async remove(id: string): Promise<void> {
    await this.#call("DELETE", `/containers/${id}?force=1`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { exitCode, signalCode } = this.#child;
    if (exitCode === null && signalCode === null) {
      const ended = new Promise((resolve) => this.#child.once("exit", resolve));
      this.#child.kill("SIGKILL");
      await ended;
    }
    for (const hierarchy of await readdir("/sys/fs/cgroup"))
      await rmdir(join("/sys/fs/cgroup", hierarchy, cgroupParent)).catch(() => undefined);
    // The kernel needs a moment to see off the last process of the namespace, and its mounts with it.
    await rm(this.#dir, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
  }

  async #answers(): Promise<boolean> {
    return this.#call("GET", "/_ping").then(
      () => true,
      () => false,
    );
  }

  async #docker(...args: string[]): Promise<string> {
    const env = { ...process.env, DOCKER_HOST: `unix://${this.#socket}`, DOCKER_CONFIG: this.#dir };
    return (await run("docker", args, { env })).stdout;
  }

  #call(method: string, path: string, body?: object): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const headers = { "content-type": "application/json" };
      const call = request({ socketPath: this.#socket, method, path, headers }, (response) => {
        let text = "";
        response.setEncoding("utf8").on("data", (chunk: string) => {
          text += chunk;
        });
        response.on("end", () => {
          const status = response.statusCode ?? 0;
          if (status >= 300) reject(new Error(`docker: ${method} ${path}: ${status} ${text.slice(0, 500)}`));
          else resolve(text.startsWith("{") ? JSON.parse(text) : text);
        });
      });
      call.on("error", reject);
      call.end(body === undefined ? undefined : JSON.stringify(body));
    });
  }
}
