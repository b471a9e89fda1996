// Muster's own calls over the active BBS: repairs, forgetting cells, feature flags, and Diego's Locket.

import { type Resource, TypeCode } from "@muster/proto/models/locket";
import type { BackupResponse } from "@muster/proto/muster/v1/backup";
import type { FeatureFlag as WireFlag } from "@muster/proto/muster/v1/feature_flags";
import type { HistoryRequest, HistoryResponse } from "@muster/proto/muster/v1/history";
import { type RepairItem, RepairOutcome, type RepairResult } from "@muster/proto/muster/v1/repair";
import { cellPresenceToWire } from "@muster/shared/codec";
import { BbsError } from "@muster/shared/errors";
import { asCellId, asProcessGuid, type Cell, featureFlagDefaults, type Lock, presences } from "@muster/shared/model";
import { isLive, isRuleName, type Repair } from "@muster/shared/rules";
import type { ActiveBbs } from "../active/active-bbs.js";
import { backup } from "../backup/backup.js";
import { forgetCell } from "../core/cells.js";
import { applyRepair, type RepairReply } from "../core/repairs.js";
import { releaseLock, setFeatureFlag, takeLock } from "../core/small-commands.js";

const maxRepairs = 1_000;
const maxLockTtlSeconds = 600n;
const maxHistory = 1_000;
const usualHistory = 200;

const resultOf = (reply: RepairReply): RepairResult => {
  switch (reply.outcome) {
    case "done":
      return { outcome: RepairOutcome.REPAIR_OUTCOME_DONE, dueInMs: 0n };
    case "stale":
      return { outcome: RepairOutcome.REPAIR_OUTCOME_STALE, dueInMs: 0n };
    case "not-due":
      return { outcome: RepairOutcome.REPAIR_OUTCOME_NOT_DUE, dueInMs: BigInt(Math.ceil(reply.dueInMs)) };
  }
};

export class OwnCalls {
  readonly #active: ActiveBbs;

  constructor(active: ActiveBbs) {
    this.#active = active;
  }

  /** Judges and carries out each repair, all in one tick. @throws BbsError InvalidRequest */
  async repair(items: readonly RepairItem[]): Promise<RepairResult[]> {
    if (items.length > maxRepairs)
      throw new BbsError("InvalidRequest", `at most ${maxRepairs} repairs a call, got ${items.length}`);
    const repairs = items.map(repairOf);
    const replies = await Promise.all(repairs.map((repair) => this.#active.journal.submit(applyRepair(repair))));
    for (const reply of replies) this.#callBack(reply);
    return replies.map(resultOf);
  }

  /** A callback is no record: the repair that asks for one hands it to the workers. */
  #callBack(reply: RepairReply): void {
    const guid = reply.outcome === "done" ? reply.callback : undefined;
    const task = guid === undefined ? undefined : this.#active.state.tables.task(guid);
    if (task !== undefined) this.#active.callbacks?.offer(task);
  }

  /** @throws BbsError ResourceConflict while the cell lives, ResourceNotFound */
  async forgetCell(cellId: string): Promise<void> {
    if (cellId === "") throw new BbsError("InvalidRequest", "Invalid field: cell_id");
    for (let over = false; !over; ) over = (await this.#active.journal.submit(forgetCell(asCellId(cellId)))).done;
  }

  listFeatureFlags(): Promise<WireFlag[]> {
    return this.#active.journal.read((state) =>
      Object.entries(featureFlagDefaults).map(([name, byDefault]) => ({ name, enabled: state.tables.flag(name) ?? byDefault })),
    );
  }

  setFeatureFlag(flag: WireFlag): Promise<WireFlag> {
    return this.#active.journal.submit(setFeatureFlag({ name: flag.name, enabled: flag.enabled }));
  }

  /** A copy of every record at one commit. @throws BbsError ResourceExhausted while another is taken */
  backup(): AsyncIterable<BackupResponse> {
    return backup(this.#active);
  }

  /** What happened lately, as far as this BBS remembers. @throws BbsError InvalidRequest */
  async history({ guidPrefix, limit }: HistoryRequest): Promise<HistoryResponse> {
    if (limit < 0 || limit > maxHistory) throw new BbsError("InvalidRequest", `Invalid field: limit (0 to ${maxHistory})`);
    const { journal, history, maxTaskRetries } = this.#active;
    const answer = await journal.read(() => history.query(guidPrefix, limit === 0 ? usualHistory : limit));
    return {
      events: answer.entries.map(({ happening, atMs, sequence }) => ({ ...happening, sequence, atMs: BigInt(Math.round(atMs)) })),
      completeSinceMs: BigInt(Math.round(answer.completeSinceMs)),
      more: answer.more,
      maxTaskRetries,
    };
  }

  // --- Locket

  /** Takes or renews a lock. Cell presences are taken by `Report`. @throws BbsError LockCollision, InvalidRequest */
  async lock(resource: Resource | undefined, ttlInSeconds: bigint): Promise<void> {
    const ask = requireLock(resource);
    if (ttlInSeconds < 1n || ttlInSeconds > maxLockTtlSeconds)
      throw new BbsError("InvalidRequest", "Invalid field: ttl_in_seconds");
    const lock: Lock = { ...ask, ttlMs: Number(ttlInSeconds) * 1000 };
    const { journal, leases } = this.#active;
    // A renewal counts on receipt: while it waits for its confirmation, the lock must not expire under a holder that did its part.
    if (leases.holds("lock", lock.key, lock.owner)) leases.renew({ kind: "lock", ...lock });
    await journal.submit(takeLock(lock));
    leases.renew({ kind: "lock", ...lock });
  }

  async release(resource: Resource | undefined): Promise<void> {
    const { key, owner } = requireLock(resource);
    await this.#active.journal.submit(releaseLock(key, owner));
    this.#active.leases.drop("lock", key, owner);
  }

  /** @throws BbsError ResourceNotFound */
  fetch(key: string): Promise<Resource> {
    return this.#active.journal.read((state) => {
      const lock = state.tables.locks.get(key);
      const cell = state.tables.cell(asCellId(key));
      if (lock !== undefined) return lockResource(lock);
      if (cell !== undefined && isLive(cell)) return presenceResource(cell);
      throw new BbsError("ResourceNotFound");
    });
  }

  fetchAll(typeCode: TypeCode): Promise<Resource[]> {
    return this.#active.journal.read((state) => [
      ...(typeCode === TypeCode.PRESENCE ? [] : [...state.tables.locks.values()].map(lockResource)),
      ...(typeCode === TypeCode.LOCK ? [] : [...state.tables.cells.values()].filter(isLive).map(presenceResource)),
    ]);
  }
}

function requireLock(resource: Resource | undefined): Pick<Lock, "key" | "owner" | "value"> {
  const faults = [resource?.key ? "" : "key", resource?.owner ? "" : "owner"].filter((field) => field !== "");
  if (resource === undefined || faults.length > 0) {
    throw new BbsError(
      "InvalidRequest",
      (faults.length > 0 ? faults : ["resource"]).map((field) => `Invalid field: ${field}`).join(", "),
    );
  }
  if (resource.typeCode === TypeCode.PRESENCE) {
    throw new BbsError("Unimplemented", "cell presences are taken through ReportService.Report, not through Locket");
  }
  return { key: resource.key, owner: resource.owner, value: resource.value };
}

const lockResource = (lock: Lock): Resource => ({
  key: lock.key,
  owner: lock.owner,
  value: lock.value,
  type: "lock",
  typeCode: TypeCode.LOCK,
});

const presenceResource = (cell: Cell): Resource => ({
  key: cell.cellId,
  owner: cell.owner,
  value: JSON.stringify(cellPresenceToWire(cell)),
  type: "presence",
  typeCode: TypeCode.PRESENCE,
});

function repairOf(item: RepairItem): Repair {
  const presence = presences[item.presence];
  if (!isRuleName(item.rule) || presence === undefined || item.index < 0)
    throw new BbsError("InvalidRequest", `no rule is called ${item.rule}`);
  return { rule: item.rule, processGuid: asProcessGuid(item.processGuid), index: item.index, presence, name: item.name };
}
