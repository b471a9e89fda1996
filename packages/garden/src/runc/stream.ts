// Files into and out of a container's root as tar streams. The machine's own tar does the work, but inside: in a mount namespace of its own it
// is lent, with its libraries, to the container's root, which it then takes as its root, in the container's user namespace and as the user
// asked for. So the kernel itself keeps `..`, links and whatever the container does meanwhile within, the container's rights and disk limit
// hold, and the image needs no tar. Bind mounts of the container are not seen: what is written goes to its own layer.
import { type ChildProcess, spawn } from "node:child_process";
import { basename, dirname } from "node:path";
import type { Clock } from "@muster/shared/clock";
import { GardenError } from "../garden.js";
import { type Exec, killGroup, toolEnv } from "../tools/exec.js";
import { lentFolder } from "./spec.js";
import type { ContainerUser } from "./user.js";

export interface StreamPlace {
  /** The container's root on this machine. */
  readonly rootfs: string;
  /** File of its user namespace. */
  readonly userns: string;
  readonly user: ContainerUser;
  /** Absolute, inside. */
  readonly path: string;
}

/** The tools lent to a container, with the libraries they need; `loader` starts them. */
export interface LentTools {
  readonly files: readonly string[];
  readonly loader: string;
}

const lentPrograms = ["/bin/sh", "/bin/mkdir", "/bin/chown", "/bin/tar", "/bin/sleep"];
/** What a stream may take altogether; the callers have shorter bounds of their own. */
const streamTimeoutMs = 900_000;
const stderrBytes = 4_096;

/** Finds what has to be lent. @throws ToolError */
export async function findLentTools(exec: Exec): Promise<LentTools> {
  const outputs = await Promise.all(lentPrograms.map((program) => exec("ldd", [program])));
  const libraries = outputs.flatMap(({ stdout }) => stdout.toString("utf8").match(/\/\S+/g) ?? []);
  const files = [...new Set([...lentPrograms, ...libraries.filter((file) => !file.endsWith(":"))])];
  const loader = files.find((file) => /\/ld[^/]*\.so[^/]*$/.test(file));
  if (loader === undefined) throw new GardenError("tool-failed", "the loader of the machine's programs was not found");
  return { files, loader: basename(loader) };
}

/** What a lasting container's own first process is: it sleeps, and waits for whoever is left to it. */
export function holderArgs(tools: LentTools): string[] {
  const sleep = [...lentCommand(tools, "sleep"), "86400"].join(" ");
  return [...lentCommand(tools, "sh"), "-c", `while :; do ${sleep} & wait; done`];
}

/** A lent program's command line in a lasting container. */
export const lentCommand = ({ loader }: LentTools, program: string): string[] => [
  `${lentFolder}/${loader}`,
  "--library-path",
  lentFolder,
  `${lentFolder}/${program}`,
];

/** Mounts what is lent over the root's /proc, seen by this script alone, and goes on inside. Arguments: root, user namespace, uid, gid, files. */
const lend = [
  "set -eu",
  "root=$1 userns=$2 uid=$3 gid=$4 make=$5 path=$6 loader=$7; shift 7",
  'mkdir -p "$root/proc"',
  'mount -t tmpfs -o size=1m,mode=755 muster "$root/proc"',
  'while [ "$1" != -- ]; do name=$(basename "$1"); : > "$root/proc/$name"; mount --bind "$1" "$root/proc/$name"; shift; done',
  "shift",
  'inside() { who=$1 group=$2; shift 2; nsenter "--user=$userns" "--root=$root" "--wd=$root" "--setuid=$who" "--setgid=$group" \\',
  '  "/proc/$loader" --library-path /proc "$@"; }',
  // A folder that is not there yet becomes the user's own, as in Garden; one that is there keeps its owner.
  'if [ "$make" = yes ]; then inside 0 0 /proc/sh -c \'[ -d "$1" ] || { "$2" --library-path /proc /proc/mkdir -p "$1" &&',
  '  "$2" --library-path /proc /proc/chown "$3" "$1"; }\' sh "$path" "/proc/$loader" "$uid:$gid"; fi',
  'inside "$uid" "$gid" "$@"',
].join("\n");

function startInside(tools: LentTools, place: StreamPlace, make: boolean, args: readonly string[]): ChildProcess {
  const { rootfs, userns, user, path } = place;
  const facts = [rootfs, userns, String(user.uid), String(user.gid), make ? "yes" : "no", path, tools.loader];
  const script = ["/bin/sh", "-c", lend, "lend", ...facts, ...tools.files, "--", ...args];
  return spawn("unshare", ["--mount", "--propagation", "private", ...script], {
    detached: true,
    stdio: ["pipe", "pipe", "pipe"],
    env: toolEnv(),
  });
}

/** Resolves when it has ended well. @throws GardenError with its first words, or the signal's reason. */
function ended(clock: Clock, child: ChildProcess, signal: AbortSignal, what: string): Promise<void> {
  let words = "";
  child.stderr?.on("data", (chunk: Buffer) => {
    words = (words + chunk.toString("utf8")).slice(0, stderrBytes);
  });
  return new Promise((resolve, reject) => {
    const stop = (): void => killGroup(child);
    const cancel = clock.after(streamTimeoutMs, stop);
    signal.addEventListener("abort", stop, { once: true });
    if (signal.aborted) stop();
    const settle = (code: number | null, cause?: unknown): void => {
      cancel();
      signal.removeEventListener("abort", stop);
      if (signal.aborted) reject(signal.reason);
      else if (code === 0) resolve();
      else {
        const first = (words.trim().split("\n")[0] ?? "").replace(/^\/proc\//, "");
        const full = /no space left|quota exceeded|wrote only/i.test(words);
        reject(new GardenError(full ? "no-space" : "stream-failed", `${what} failed${first === "" ? "" : `: ${first}`}`, cause));
      }
    };
    child.once("error", (cause) => settle(null, cause));
    child.once("close", (code) => settle(code));
  });
}

/** Unpacks a tar stream below `place.path`, which is made when it is not there. */
export async function streamInto(
  clock: Clock,
  tools: LentTools,
  place: StreamPlace,
  tar: AsyncIterable<Uint8Array>,
  signal: AbortSignal,
): Promise<void> {
  const args = ["/proc/tar", "--extract", "--file=-", `--directory=${place.path}`, "--no-same-owner", "--overwrite"];
  const child = startInside(tools, place, true, args);
  const end = ended(clock, child, signal, "unpacking");
  child.stdout?.resume();
  const { stdin } = child;
  const over = end.then(
    () => true,
    () => true,
  );
  stdin?.on("error", () => undefined);
  try {
    for await (const chunk of tar) {
      if (stdin === null || !stdin.writable) break;
      if (!stdin.write(chunk)) await Promise.race([new Promise((resolve) => stdin.once("drain", resolve)), over]);
    }
    stdin?.end();
  } catch (error) {
    killGroup(child);
    await over;
    throw error;
  }
  await end;
}

/** A file, or a folder with all that is in it (ending in `/`: without its own name), as a tar stream; fails while it is read. */
export async function* streamOutOf(
  clock: Clock,
  tools: LentTools,
  place: StreamPlace,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  const whole = place.path.endsWith("/");
  const [folder, name] = whole ? [place.path, "."] : [dirname(place.path), basename(place.path)];
  // A link that is asked for by name is followed, inside.
  const follow = whole ? [] : ["--dereference"];
  const args = ["/proc/tar", "--create", "--file=-", ...follow, `--directory=${folder}`, "--", name];
  const child = startInside(tools, place, false, args);
  const end = ended(clock, child, signal, "reading");
  end.catch(() => undefined);
  child.stdin?.end();
  try {
    for await (const chunk of child.stdout ?? []) yield chunk as Uint8Array;
    await end;
  } finally {
    killGroup(child);
    await end.catch(() => undefined);
  }
}
