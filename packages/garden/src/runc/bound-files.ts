// Files a container finds but does not hold: service bindings and its identity. They lie below a folder only root may enter, which the
// container sees through its mount alone, so that no other user of this machine reads a key.
import { chmod, mkdir, rename, writeFile } from "node:fs/promises";
import { dirname, join, posix } from "node:path";
import type { BoundFile, InstanceIdentity } from "../garden.js";
import { GardenError } from "../garden.js";
import { makeFolder } from "../tools/files.js";

/** Where they are seen inside. Source: cell.md section 10. */
export const bindingsPlace = "/etc/cf-service-bindings";
export const identityPlace = "/etc/cf-instance-credentials";

/** The BBS's own bound; 1,000 files of it are more than any platform binds. Source: bbs-semantics.md section 2.2. */
const mostBytes = 1_048_576;
const mostFiles = 1_000;

/** @throws GardenError spec-invalid for paths that leave their folder, stand twice, or are too many or too large. */
export function checkFiles(files: readonly BoundFile[]): void {
  const bytes = files.reduce((sum, { content }) => sum + content.length, 0);
  if (bytes > mostBytes || files.length > mostFiles)
    throw new GardenError("spec-invalid", `bound files are at most ${mostFiles} and ${mostBytes} bytes together`);
  const names = files.map(({ path }) => path);
  const bad = names.find((path, at) => !isInside(path) || names.indexOf(path) !== at);
  if (bad !== undefined)
    throw new GardenError("spec-invalid", `"${bad.slice(0, 200)}" is no path for a bound file, or stands twice`);
}

const isInside = (path: string): boolean =>
  path !== "" &&
  path.length <= 1_000 &&
  !path.startsWith("/") &&
  posix.normalize(path) === path &&
  !path.startsWith("..") &&
  !path.endsWith("/");

/** A folder below one that only root may enter, itself open to the container's users. */
export async function openSecretFolder(folder: string): Promise<void> {
  await makeFolder(dirname(folder), 0o700);
  await makeFolder(folder, 0o755);
}

/** Writes the files below `folder`: folders 0755, files 0644, as in Diego. */
export async function writeFiles(folder: string, files: readonly BoundFile[]): Promise<void> {
  await openSecretFolder(folder);
  for (const { path, content } of files) {
    const parts = path.split("/").slice(0, -1);
    for (let depth = 1; depth <= parts.length; depth += 1) await makeFolder(join(folder, ...parts.slice(0, depth)), 0o755);
    await writeReadable(join(folder, path), content);
  }
}

/** Puts a new key and certificate in the place of the old; a reader sees one or the other, never a part. */
export async function writeIdentity(folder: string, { certificate, key }: InstanceIdentity): Promise<void> {
  await mkdir(folder, { recursive: true });
  // Whoever watches the certificate finds its key already there.
  for (const [name, content] of [
    ["instance.key", key],
    ["instance.crt", certificate],
  ] as const) {
    await writeReadable(join(folder, `.${name}.next`), content);
    await rename(join(folder, `.${name}.next`), join(folder, name));
  }
}

async function writeReadable(file: string, content: string | Uint8Array): Promise<void> {
  await writeFile(file, content, { mode: 0o644 });
  await chmod(file, 0o644);
}
