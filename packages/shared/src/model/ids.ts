// Every kind of id, branded at the edge, so that a cell id is never passed where a process guid is meant.

declare const kind: unique symbol;
export type Branded<Base, Kind extends string> = Base & { readonly [kind]: Kind };

export type ProcessGuid = Branded<string, "ProcessGuid">;
export type InstanceGuid = Branded<string, "InstanceGuid">;
export type TaskGuid = Branded<string, "TaskGuid">;
export type CellId = Branded<string, "CellId">;
export type DomainName = Branded<string, "DomainName">;

/** Cluster time in the BBS and from its watch, epoch milliseconds. */
export type EpochMs = Branded<number, "EpochMs">;
/** Unix nanoseconds, as Diego's `since` and `created_at` count; overflows `number`. */
export type EpochNs = Branded<bigint, "EpochNs">;

/** Brand a value that was validated, or that comes from our own records. They check nothing: validation is the BBS's edge. */
export const asProcessGuid = (raw: string): ProcessGuid => raw as ProcessGuid;
export const asInstanceGuid = (raw: string): InstanceGuid => raw as InstanceGuid;
export const asTaskGuid = (raw: string): TaskGuid => raw as TaskGuid;
export const asCellId = (raw: string): CellId => raw as CellId;
export const asDomainName = (raw: string): DomainName => raw as DomainName;
export const asEpochMs = (raw: number): EpochMs => raw as EpochMs;
export const asEpochNs = (raw: bigint): EpochNs => raw as EpochNs;

export const epochMsToNs = (ms: EpochMs): EpochNs => asEpochNs(BigInt(Math.round(ms)) * 1_000_000n);
export const epochNsToMs = (ns: EpochNs): EpochMs => asEpochMs(Number(ns / 1_000_000n));
