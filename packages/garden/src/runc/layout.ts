// Where everything of a container is. Mounts and bundles are below /run (0711), so that a container's user namespace can reach them and
// they go with the machine's boot; images, disk files and logs are in the home.
import { realpathSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { shortHash } from "../network/plan.js";

export interface CellLayout {
  /** `/run/muster/<home>/<cell>`. */
  readonly runDir: string;
  /** `/run/muster/<home>`. */
  readonly homeRunDir: string;
  readonly runcRoot: string;
  readonly containersDir: string;
  /** `<home>/cells/<cell>/garden`. */
  readonly dataDir: string;
  /** Of the cgroups, below each hierarchy's root. */
  readonly cgroupParent: string;
}

export interface ContainerLayout {
  readonly dir: string;
  readonly recordFile: string;
  readonly bundle: string;
  readonly rootfs: string;
  readonly etcDir: string;
  /** In a folder of its own that only root may enter. */
  readonly bindingsDir: string;
  readonly identityDir: string;
  readonly diskMount: string;
  readonly userns: string;
  readonly dataDir: string;
  readonly logsDir: string;
  readonly cgroupsPath: string;
}

export const runRoot = "/run/muster";
/** Locked while a cell chooses its network. */
export const machineLock = join(runRoot, "lock");
/** Holds what the machine's forwarding was before the first cell. */
export const forwardingFile = join(runRoot, "ip_forward");

/** The home without symbolic links, also before it exists: one folder must never have two sets of names. */
export function resolvedHome(home: string): string {
  const path = resolve(home);
  try {
    return realpathSync(path);
  } catch {
    return dirname(path) === path ? path : join(resolvedHome(dirname(path)), basename(path));
  }
}

export function cellLayout(home: string, cellId: string): CellLayout {
  const homeRunDir = join(runRoot, shortHash(home));
  const cellKey = shortHash(home, cellId);
  const runDir = join(homeRunDir, cellKey);
  return {
    runDir,
    homeRunDir,
    runcRoot: join(runDir, "runc"),
    containersDir: join(runDir, "c"),
    dataDir: join(home, "cells", cellId, "garden"),
    cgroupParent: `/muster-${cellKey}`,
  };
}

export function containerLayout(cell: CellLayout, handle: string): ContainerLayout {
  const dir = join(cell.containersDir, handle);
  const dataDir = join(cell.dataDir, handle);
  return {
    dir,
    recordFile: join(dir, "record.json"),
    bundle: join(dir, "bundle"),
    rootfs: join(dir, "bundle", "rootfs"),
    etcDir: join(dir, "etc"),
    bindingsDir: join(dir, "secret", "bindings"),
    identityDir: join(dir, "secret", "identity"),
    diskMount: join(dir, "disk"),
    userns: join(dir, "userns"),
    dataDir: join(dataDir, "disk"),
    logsDir: join(dataDir, "logs"),
    cgroupsPath: `${cell.cgroupParent}/${handle}`,
  };
}

export const processDir = (container: ContainerLayout, number: number): string => join(container.dir, "p", String(number));
export const processLogDir = (container: ContainerLayout, number: number): string => join(container.logsDir, String(number));
export const processLogFile = (container: ContainerLayout, number: number): string =>
  join(processLogDir(container, number), "log");

/** Host ids of containers: 65,536 from here on, the same for all cells of a home, as they share unpacked images; 131,072 at least. */
export const idBaseOf = (home: string): number => 65_536 * (2 + (Number.parseInt(shortHash(home, "ids"), 16) % 30_000));
