// The home folder of a platform: what is where in it, which version wrote it, and how it is emptied.
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { OperatorError } from "@muster/shared/errors";
import { randomBytes } from "@muster/shared/tls";
import { homeMark, servicesFileOf } from "../services-file.js";

/** Moves only when an older or newer program would misread the folder. */
const homeVersion = 1;

export interface Home {
  readonly dir: string;
  /** True when this call made it. */
  readonly created: boolean;
  readonly certs: string;
  readonly config: string;
  readonly logs: string;
  readonly run: string;
  readonly bbsData: string;
  readonly registry: string;
  readonly clientFile: string;
  readonly servicesFile: string;
}

const versionFile = homeMark;
const folders = ["certs", "config", "logs", "run", "data", "cells", "images", "registry"] as const;

const layout = (dir: string, created: boolean): Home => ({
  dir,
  created,
  certs: path.join(dir, "certs"),
  config: path.join(dir, "config"),
  logs: path.join(dir, "logs"),
  run: path.join(dir, "run"),
  bbsData: path.join(dir, "data", "bbs"),
  registry: path.join(dir, "registry"),
  clientFile: path.join(dir, "client.json"),
  servicesFile: servicesFileOf(dir),
});

/**
 * Opens the home, or makes it in a missing or empty folder.
 * @throws OperatorError when the folder is somebody else's, or of another version.
 */
export function openHome(dir: string): Home {
  const file = path.join(dir, versionFile);
  const created = !existsSync(file);
  if (created) refuseForeign(dir);
  else checkVersion(file);
  for (const folder of folders) mkdirSync(path.join(dir, folder), { recursive: true, mode: 0o700 });
  // Containers' files lie below; other users of the machine have no business here.
  chmodSync(dir, 0o700);
  if (created) writeFileSync(file, `${JSON.stringify({ muster_home: homeVersion })}\n`);
  return layout(dir, created);
}

function refuseForeign(dir: string): void {
  if (!existsSync(dir)) return;
  const found = listFolder(dir);
  // A first start that was killed leaves folders but no version file; those are ours.
  if (found.every((name) => (folders as readonly string[]).includes(name))) return;
  throw new OperatorError(`${dir} is no home of Muster and not empty`, "choose an empty or a new folder with --home DIR");
}

function listFolder(dir: string): string[] {
  try {
    return readdirSync(dir);
  } catch (cause) {
    throw new OperatorError(`${dir} cannot be read as a folder`, "choose another with --home DIR", cause);
  }
}

function checkVersion(file: string): void {
  const version = readVersion(file);
  if (version === homeVersion) return;
  throw new OperatorError(
    `${path.dirname(file)} is a home of version ${version ?? "unknown"}; this Muster reads and writes version ${homeVersion}`,
    "run the Muster that made it, choose another folder with --home DIR, or start anew with --fresh (this deletes its apps)",
  );
}

function readVersion(file: string): number | undefined {
  try {
    const { muster_home: version } = JSON.parse(readFileSync(file, "utf8")) as { muster_home?: unknown };
    return typeof version === "number" ? version : undefined;
  } catch {
    return undefined;
  }
}

/** Whether the folder is a home, of whatever version. */
export const isHome = (dir: string): boolean => existsSync(path.join(dir, versionFile));

/** Deletes what Muster keeps in a home, and nothing else that may be there. Containers must be gone before. */
export function emptyHome(dir: string): void {
  for (const name of [...folders, "client.json", "keys.json", versionFile])
    rmSync(path.join(dir, name), { recursive: true, force: true });
}

export interface SealingKeys {
  readonly encryption_keys: Readonly<Record<string, string>>;
  readonly active_key_label: string;
}

/** The passphrases the BBS seals environments and credentials with; made once and kept as long as the data. */
export function sealingKeys(home: Home): SealingKeys {
  const file = path.join(home.dir, "keys.json");
  if (existsSync(file)) return JSON.parse(readFileSync(file, "utf8")) as SealingKeys;
  const keys: SealingKeys = {
    encryption_keys: { "key-1": Buffer.from(randomBytes(32)).toString("base64") },
    active_key_label: "key-1",
  };
  writeFileSync(file, `${JSON.stringify(keys, undefined, 2)}\n`, { mode: 0o600 });
  return keys;
}
