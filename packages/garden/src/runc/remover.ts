// Takes containers away by their names alone, whatever state they are in: half made, running, left by a rep that died, of another boot.
// Every step may be done again; what could not be done is tried a few times, and the end is proven.
import { readdir, readFile, rm, rmdir } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "@muster/shared/clock";
import { GardenError } from "../garden.js";
import { netnsDir } from "../network/netns.js";
import type { CellNetwork } from "../network/network.js";
import { type Exec, lastWords } from "../tools/exec.js";
import { isMissing } from "../tools/files.js";
import { machineCgroups } from "./cgroup.js";
import { type CellLayout, type ContainerLayout, containerLayout } from "./layout.js";
import { mountPoints, removeRoot, unmount } from "./mounts.js";

export interface RemoverOptions {
  readonly clock: Clock;
  readonly exec: Exec;
  readonly cell: CellLayout;
  readonly network: CellNetwork;
  readonly runcPath: string;
}

export const handlePattern = /^[A-Za-z0-9_-]{1,64}$/;
const attempts = 4;

/** A folder's names; none when it is not there. */
export const listFolder = (folder: string): Promise<string[]> => readdir(folder).catch((): string[] => []);

/** Files that loop devices are attached to. */
async function loopFiles(): Promise<string[]> {
  const loops = (await listFolder("/sys/block")).filter((name) => name.startsWith("loop"));
  const files = await Promise.all(loops.map((name) => readFile(`/sys/block/${name}/loop/backing_file`, "utf8").catch(() => "")));
  return files.map((file) => file.trim().replace(/ \(deleted\)$/, ""));
}

export class Remover {
  readonly #options: RemoverOptions;

  constructor(options: RemoverOptions) {
    this.#options = options;
  }

  /** Every handle of which anything is there: folders, runc's states, namespaces. Sorted. */
  async traces(): Promise<string[]> {
    const { cell, network } = this.#options;
    const prefix = network.names.netnsPrefix;
    const lists = await Promise.all([cell.containersDir, cell.runcRoot, cell.dataDir, netnsDir].map(listFolder));
    const named = (lists.pop() ?? []).filter((name) => name.startsWith(prefix)).map((name) => name.slice(prefix.length));
    return [...new Set([...lists.flat(), ...named])].filter((handle) => handlePattern.test(handle)).sort();
  }

  /** Idempotent. @throws GardenError tool-failed when something of it is still there. */
  async remove(handle: string): Promise<void> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        await this.#removeOnce(handle);
        return;
      } catch (error) {
        if (attempt >= attempts) {
          if (error instanceof GardenError) throw error;
          throw new GardenError("tool-failed", `container ${handle} could not be removed (${lastWords(error)})`, error);
        }
        await this.#options.clock.sleep(50 * 2 ** attempt);
      }
    }
  }

  async #removeOnce(handle: string): Promise<void> {
    const { clock, exec, cell } = this.#options;
    const layout = containerLayout(cell, handle);
    await this.#removeRuncState(handle);
    const parts = await Promise.allSettled([
      removeRoot(clock, exec, { target: layout.rootfs, diskMount: layout.diskMount, dataDir: layout.dataDir }),
      this.#removeNetwork(handle),
      this.#free(layout.userns),
    ]);
    for (const part of parts) if (part.status === "rejected") throw part.reason;
    await Promise.all(machineCgroups.folders(layout.cgroupsPath).map(removeCgroup));
    await rm(layout.dir, { recursive: true, force: true });
    await rm(join(cell.dataDir, handle), { recursive: true, force: true });
    await this.#prove(handle, layout);
  }

  async #removeNetwork(handle: string): Promise<void> {
    const { network } = this.#options;
    const netns = network.netnsFile(handle);
    // A namespace that was never bound, or is gone already, is nothing the plugin could work in; it gives back the address all the same.
    await network.detach(handle, (await mountPoints()).includes(netns) ? netns : "");
    await this.#free(netns);
  }

  /** Lets a namespace go: the kernel removes it, and the veth pair in it, with its last user. */
  async #free(file: string): Promise<void> {
    await unmount(this.#options.clock, this.#options.exec, file);
    await rm(file, { force: true });
  }

  async #removeRuncState(handle: string): Promise<void> {
    const { exec, runcPath } = this.#options;
    const { runcRoot } = this.#options.cell;
    const known = async (): Promise<boolean> => (await listFolder(runcRoot)).includes(handle);
    if (!(await known())) return;
    // Not forced first: that waits in steps of 100 ms for what is dead already.
    await exec(runcPath, ["--root", runcRoot, "delete", handle], { timeoutMs: 15_000 }).catch(() =>
      exec(runcPath, ["--root", runcRoot, "delete", "--force", handle], { timeoutMs: 30_000 }),
    );
    if (await known()) throw new GardenError("tool-failed", `runc still knows container ${handle}`);
  }

  async #prove(handle: string, layout: ContainerLayout): Promise<void> {
    const netns = this.#options.network.netnsFile(handle);
    const [mounts, loops] = await Promise.all([mountPoints(), loopFiles()]);
    const left = [
      ...mounts.filter((path) => path.startsWith(`${layout.dir}/`) || path === netns),
      ...loops.filter((file) => file.startsWith(`${layout.dataDir}/`)),
    ];
    if (left.length > 0) throw new GardenError("tool-failed", `container ${handle} still holds ${left.join(", ")}`);
  }
}

async function removeCgroup(folder: string): Promise<void> {
  try {
    await rmdir(folder);
  } catch (error) {
    if (!isMissing(error)) throw error;
  }
}
