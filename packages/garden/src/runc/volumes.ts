// Volumes: folders that drivers of this cell offer, mounted into containers. A driver says which folder of this machine a volume is.
import { realpath, stat } from "node:fs/promises";
import { posix } from "node:path";
import type { VolumeRequest } from "../garden.js";
import { GardenError } from "../garden.js";

/** One folder or file of this machine, seen at a place inside. Never with devices or setuid programs. */
export interface BindMount {
  readonly source: string;
  readonly destination: string;
  readonly readOnly: boolean;
}

export interface VolumeDriver {
  /** Makes the volume ready for a container. @returns the folder on this machine. @throws GardenError volume-failed */
  mount(volume: VolumeRequest, handle: string): Promise<string>;
  /** Called when the container is gone, also after a restart of the rep. Idempotent. */
  unmount(volume: VolumeRequest, handle: string): Promise<void>;
}

/** A folder the operator offers under a name. */
export interface LocalVolume {
  readonly folder: string;
  /** `r`: containers may only ask to read it. */
  readonly access: "r" | "rw";
}

const failed = (why: string, cause?: unknown): GardenError =>
  new GardenError("volume-failed", `failed to mount volume, errors: ${why}`, cause);

/** The driver `local`: volume ids are names of an allow-list, and nothing else of the machine can be reached through it. */
export function localDriver(volumes: Readonly<Record<string, LocalVolume>>): VolumeDriver {
  return {
    async mount({ volumeId, mode }) {
      const volume = Object.hasOwn(volumes, volumeId) ? volumes[volumeId] : undefined;
      if (volume === undefined) throw failed(`this cell offers no local volume "${volumeId}"`);
      if (mode === "rw" && volume.access === "r") throw failed(`local volume "${volumeId}" may only be read`);
      const folder = await realpath(volume.folder).catch((error: unknown) => {
        throw failed(`the folder of local volume "${volumeId}" is not there`, error);
      });
      if (!(await stat(folder)).isDirectory()) throw failed(`local volume "${volumeId}" is no folder`);
      return folder;
    },
    unmount: () => Promise.resolve(),
  };
}

/** Nothing may be put over what the container's isolation stands on. */
const reserved = ["/proc", "/sys", "/dev"];

/** @throws GardenError spec-invalid unless this is a place inside that may be mounted over. */
export function checkPlace(path: string): void {
  const whole = path.startsWith("/") && posix.normalize(path).replace(/\/$/, "") === path.replace(/\/$/, "");
  const taken = reserved.some((folder) => path === folder || path.startsWith(`${folder}/`));
  if (!whole || path.length > 4_000 || path.replace(/\/+$/, "") === "" || taken || path.includes("\0"))
    throw new GardenError("spec-invalid", `"${path.slice(0, 200)}" is no place for a mount in a container`);
}

/** Refuses volumes that could never be mounted, before anything is made. @throws GardenError volume-failed, spec-invalid */
export function checkVolumes(volumes: readonly VolumeRequest[], drivers: ReadonlyMap<string, VolumeDriver>): void {
  for (const { driver, containerDir, mode } of volumes) {
    if (!drivers.has(driver)) throw failed(`this cell has no volume driver "${driver}"`);
    if (mode !== "r" && mode !== "rw") throw new GardenError("volume-failed", "unrecognized volume mount mode");
    checkPlace(containerDir);
  }
}

/** Mounts of the same container, the outer before the inner. @throws GardenError spec-invalid when two want the same place. */
export function inOrder(mounts: readonly BindMount[]): readonly BindMount[] {
  const depth = ({ destination }: BindMount): number => destination.split("/").filter((part) => part !== "").length;
  const places = mounts.map(({ destination }) => posix.normalize(`${destination}/`));
  const twice = places.find((place, at) => places.indexOf(place) !== at);
  if (twice !== undefined) throw new GardenError("spec-invalid", `two mounts want ${twice} in the container`);
  return [...mounts].sort((a, b) => depth(a) - depth(b) || (a.destination < b.destination ? -1 : 1));
}
