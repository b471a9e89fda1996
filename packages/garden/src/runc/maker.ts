// What a container is made of: its network, its mounts, its root, and the record that a later rep takes it up by.
import { join } from "node:path";
import type { Clock } from "@muster/shared/clock";
import type { Log } from "@muster/shared/log";
import type { ContainerSpec, VolumeRequest } from "../garden.js";
import { GardenError } from "../garden.js";
import type { CachedImage } from "../image/store.js";
import type { CellNetwork, Connection } from "../network/network.js";
import type { Exec } from "../tools/exec.js";
import { makeFolder, readIfThere, writeOpen, writeWhole } from "../tools/files.js";
import { bindingsPlace, identityPlace, openSecretFolder, writeFiles } from "./bound-files.js";
import { hostsFile, nameserversOf, resolvConf } from "./etc.js";
import { type CellLayout, type ContainerLayout, containerLayout } from "./layout.js";
import { diskLimit, makeRoot } from "./mounts.js";
import type { ContainerRecord } from "./records.js";
import { type BindMount, inOrder, type VolumeDriver } from "./volumes.js";

export interface MakerParts {
  readonly clock: Clock;
  readonly exec: Exec;
  readonly log: Log;
  readonly cell: CellLayout;
  readonly idBase: number;
  /** Of this boot of the machine: what an earlier one made is gone. */
  readonly bootId: string;
  readonly network: CellNetwork;
  readonly drivers: ReadonlyMap<string, VolumeDriver>;
}

export interface Made {
  readonly record: ContainerRecord;
  /** Its ports are mapped. */
  readonly opened: Connection["opened"];
}

export class ContainerMaker {
  readonly #parts: MakerParts;

  constructor(parts: MakerParts) {
    this.#parts = parts;
  }

  /** Everything but the container's first process. What a failure leaves is the remover's and `unmountVolumes`'. */
  async make(spec: ContainerSpec, image: CachedImage, signal: AbortSignal): Promise<Made> {
    const { cell, network } = this.#parts;
    const layout = containerLayout(cell, spec.handle);
    await makeFolder(layout.dir, 0o711);
    // A part that fails stops the other, and both have ended before anything is taken back.
    const failed = new AbortController();
    const either = AbortSignal.any([signal, failed.signal]);
    const orFail = <Result>(part: Promise<Result>): Promise<Result> =>
      part.catch((error: unknown) => {
        failed.abort(error);
        throw error;
      });
    const making = [
      orFail(this.#makeNetwork(layout, spec, network, either)),
      orFail(this.#makeMounts(layout, spec)),
      orFail(this.#makeRoot(layout, spec, image, either)),
    ] as const;
    await Promise.allSettled(making);
    if (failed.signal.aborted) throw failed.signal.reason;
    signal.throwIfAborted();
    const [connection, mounts] = await Promise.all([making[0], making[1]]);
    const record = this.#record(spec, image, connection, mounts);
    await writeWhole(layout.recordFile, JSON.stringify(record));
    return { record, opened: connection.opened };
  }

  async #makeRoot(layout: ContainerLayout, spec: ContainerSpec, image: CachedImage, signal: AbortSignal): Promise<void> {
    const { rootfs: target, diskMount, dataDir } = layout;
    const disk = diskLimit(spec.diskMb, image.rootBytes);
    if (disk === "too-small") {
      const imageMb = Math.ceil(image.rootBytes / 1_048_576);
      const what = `the image takes ${imageMb} MB, which leaves nothing of the container's disk limit of ${spec.diskMb} MB`;
      throw new GardenError("spec-invalid", what);
    }
    await makeFolder(layout.bundle, 0o711);
    await makeRoot(
      this.#parts.exec,
      { imageRoot: image.rootDir, target, diskMount, dataDir, disk, idBase: this.#parts.idBase },
      signal,
    );
  }

  async #makeNetwork(
    layout: ContainerLayout,
    spec: ContainerSpec,
    network: CellNetwork,
    signal: AbortSignal,
  ): Promise<Connection> {
    const { handle, hostname, ports, egress } = spec;
    await makeFolder(layout.etcDir, 0o711);
    const [host, upstream] = await Promise.all(
      ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"].map((file) => readIfThere(file)),
    );
    const resolv = resolvConf(host ?? "", upstream);
    const nameservers = nameserversOf(resolv);
    const connection = await network.attach(
      { handle, userns: layout.userns, idBase: this.#parts.idBase, ports, egress, nameservers },
      signal,
    );
    await Promise.all([
      writeOpen(join(layout.etcDir, "hosts"), hostsFile(hostname, connection.containerIp)),
      writeOpen(join(layout.etcDir, "hostname"), `${hostname}\n`),
      writeOpen(join(layout.etcDir, "resolv.conf"), resolv),
    ]);
    return connection;
  }

  /** What is mounted besides the root: volumes, what the cell lends, bound files and the identity's folder. */
  async #makeMounts(layout: ContainerLayout, spec: ContainerSpec): Promise<readonly BindMount[]> {
    const { volumes = [], folders = [], files = [], hasIdentity = false } = spec;
    const mounts: BindMount[] = folders.map(({ folder, containerDir }) => ({
      source: folder,
      destination: containerDir,
      readOnly: true,
    }));
    if (files.length > 0) {
      await writeFiles(layout.bindingsDir, files);
      mounts.push({ source: layout.bindingsDir, destination: bindingsPlace, readOnly: true });
    }
    if (hasIdentity) {
      await openSecretFolder(layout.identityDir);
      mounts.push({ source: layout.identityDir, destination: identityPlace, readOnly: true });
    }
    for (const volume of volumes) {
      const source = await this.#parts.drivers.get(volume.driver)?.mount(volume, spec.handle);
      if (source !== undefined) mounts.push({ source, destination: volume.containerDir, readOnly: volume.mode === "r" });
    }
    return inOrder(mounts);
  }

  /** Volumes are their drivers' to take back; one that fails keeps no other. */
  async unmountVolumes(handle: string, volumes: readonly VolumeRequest[]): Promise<void> {
    for (const volume of volumes) {
      await this.#parts.drivers
        .get(volume.driver)
        ?.unmount(volume, handle)
        .catch((error: unknown) =>
          this.#parts.log.warn({ err: error, instance_guid: handle }, "a volume could not be unmounted"),
        );
    }
  }

  #record(spec: ContainerSpec, image: CachedImage, connection: Connection, mounts: readonly BindMount[]): ContainerRecord {
    const { credentials: _secret, files: _contents, ...kept } = spec;
    const createdAtMs = this.#parts.clock.nowMs();
    const { containerIp, ports } = connection;
    return {
      version: 1,
      bootId: this.#parts.bootId,
      spec: kept,
      image: image.metadata,
      imageBytes: image.rootBytes,
      mounts,
      containerIp,
      ports,
      createdAtMs,
      processes: [],
    };
  }
}
