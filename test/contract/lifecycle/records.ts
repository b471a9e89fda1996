// What the lifecycle suites share: stores with records in them, everything a store holds, backups to files, restores.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createSealer, desireLRP, type Restored, type RestoreOptions, restore } from "@muster/bbs";
import { TaskDefinition } from "@muster/proto/models/task";
import { type BackupFacts, writeBackup } from "@muster/shared/backup";
import { systemClock, systemEntropy } from "@muster/shared/clock";
import { silentLog } from "@muster/shared/log";
import { serverStream, unary } from "@muster/shared/rpc";
import type { CommitResult, Head, StoreDriver } from "@muster/store";
import { type BbsClients, clientsOf, type InProcessBbs, type StoreHome, sealingKeys } from "../../support/bbs.js";
import { desire, desired } from "../bbs/fixtures.js";

/** A folder of the test's own that goes with it. */
export async function scratch(): Promise<AsyncDisposable & { at(name: string): string }> {
  const dir = await mkdtemp(join(tmpdir(), "muster-lifecycle-"));
  return {
    at: (name) => join(dir, name),
    [Symbol.asyncDispose]: () => rm(dir, { recursive: true, force: true }),
  };
}

export interface Contents {
  readonly head: Head | undefined;
  /** Every record's bytes, by its key. */
  readonly records: ReadonlyMap<string, string>;
}

/** What the home's store holds while nobody leads it. */
export async function contentsOf(home: StoreHome): Promise<Contents> {
  await using store = await home.open();
  return await read(store);
}

export async function read(store: StoreDriver): Promise<Contents> {
  const { head, records } = await store.load(new AbortController().signal);
  const all = new Map<string, string>();
  for await (const { key, value } of records) all.set(key, Buffer.from(value).toString("hex"));
  return { head, records: all };
}

/** A secret that must be found nowhere but in what its owner asks for. */
export const secretOf = (processGuid: string): string => `s3cr3t-of-${processGuid}`;

export const secretive = (processGuid: string, instances = 2) =>
  desired(processGuid, {
    instances,
    environmentVariables: [{ name: "TOKEN", value: secretOf(processGuid) }],
    imageUsername: "somebody",
    imagePassword: `password-${secretOf(processGuid)}`,
  });

/** A task that has a secret too. */
export const desireTask = (clients: BbsClients, taskGuid: string): Promise<unknown> => {
  const taskDefinition = TaskDefinition.fromPartial({
    rootFs: "preloaded:busybox",
    memoryMb: 16,
    diskMb: 16,
    environmentVariables: [{ name: "TOKEN", value: secretOf(taskGuid) }],
    action: { runAction: { path: "/bin/true", user: "vcap", env: [{ name: "TOKEN", value: secretOf(taskGuid) }] } },
  });
  return unary(clients.bbs.desireTask.bind(clients.bbs), { taskGuid, domain: "apps", taskDefinition });
};

export async function desireMany(clients: BbsClients, name: string, count: number): Promise<string[]> {
  const guids = Array.from({ length: count }, (_, number) => `${name}-${number}`);
  await Promise.all(guids.map((guid) => desire(clients, secretive(guid))));
  return guids;
}

/** Many DesiredLRPs without instances, written past the wire: it is their number that matters. */
export async function fillFast({ active }: InProcessBbs, name: string, count: number): Promise<void> {
  const slice = 500;
  for (let from = 0; from < count; from += slice) {
    const numbers = Array.from({ length: Math.min(slice, count - from) }, (_, at) => from + at);
    await Promise.all(numbers.map((number) => active.journal.submit(desireLRP(secretive(`${name}-${number}`, 0)))));
  }
}

/** The environment of a process, as its owner reads it. */
export async function tokenOf(clients: BbsClients, processGuid: string): Promise<string | undefined> {
  const { desiredLrp } = await unary(clients.bbs.desiredLrpByProcessGuid.bind(clients.bbs), { processGuid });
  return desiredLrp?.environmentVariables[0]?.value;
}

/** Takes a backup as `muster backup` does. */
export async function backUp(address: string, file: string): Promise<BackupFacts> {
  using operator = await clientsOf([address], "operator");
  return await writeBackup(file, serverStream(operator.backup.backup.bind(operator.backup), {}, { deadlineMs: 30_000 }));
}

/** Restores into the home's store as `muster restore` does. */
export const restoreTo = (
  home: Pick<StoreHome, "open">,
  file: string,
  options: Partial<RestoreOptions> = {},
): Promise<Restored> =>
  restore({
    file,
    ring: createSealer(sealingKeys),
    openStore: () => home.open(),
    force: false,
    waitMs: 2_000,
    clock: systemClock,
    entropy: systemEntropy,
    log: silentLog(),
    ...options,
  });

/** The same store with something done around every commit. */
export const withCommit = (
  home: StoreHome,
  around: (commit: () => Promise<CommitResult>) => Promise<CommitResult>,
): StoreHome => ({
  ...home,
  open: async () => {
    const store = await home.open();
    const commit: StoreDriver["commit"] = (batch, leadership) => around(() => store.commit(batch, leadership));
    return new Proxy(store, {
      get: (target, name) => {
        const value: unknown = name === "commit" ? commit : Reflect.get(target, name);
        return typeof value === "function" && name !== "commit" ? value.bind(target) : value;
      },
    });
  },
});
