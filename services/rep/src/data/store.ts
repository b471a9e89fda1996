// What of a container must outlive the rep (rule R2), as one small record each. The interface, and a store in memory.
import type { ActualLRPKey, ActualLRPNetInfo } from "@muster/shared/model";
import { asDomainName, asInstanceGuid, asProcessGuid, asTaskGuid } from "@muster/shared/model";
import { z } from "zod";
import { type ContainerRecord, containerStates } from "../plan/index.js";

const checkSchema = z.object({
  kind: z.enum(["tcp", "http"]),
  port: z.number(),
  path: z.string(),
  timeoutMs: z.number(),
  intervalMs: z.number(),
});

const startInfoSchema = z.object({
  logSource: z.string(),
  logGuid: z.string(),
  healthSource: z.string(),
  checks: z.array(checkSchema),
  readinessChecks: z.array(checkSchema),
  startTimeoutMs: z.number(),
  logBytesPerSecond: z.number(),
  internalRoutes: z.array(z.string()),
  metricTags: z.record(z.string(), z.string()),
  skeleton: z.string(),
  monitored: z.boolean().default(false),
  identity: z.object({ organizationalUnits: z.array(z.string()) }).optional(),
});

const taskSchema = z.object({
  guid: z.string().min(1),
  resultFile: z.string(),
  outcome: z.enum(["succeeded", "failed", "rejected"]).optional(),
  result: z.string(),
});

const netInfoSchema = z.object({
  address: z.string(),
  ports: z.array(
    z.object({
      containerPort: z.number(),
      hostPort: z.number(),
      containerTlsProxyPort: z.number(),
      hostTlsProxyPort: z.number(),
    }),
  ),
  instanceAddress: z.string(),
  instanceIpv6Address: z.string(),
  preferredAddress: z.enum(["UNKNOWN", "INSTANCE", "HOST"]),
});

/** The stored shape; the version says which rep can read it. */
const storedSchema = z.object({
  version: z.literal(1),
  key: z.object({ processGuid: z.string(), index: z.number(), domain: z.string() }),
  task: taskSchema.optional(),
  instanceGuid: z.string().min(1),
  auctionId: z.string(),
  rootFs: z.string(),
  memoryMb: z.number(),
  diskMb: z.number(),
  maxPids: z.number(),
  state: z.enum(containerStates as readonly [string, ...string[]]),
  stopped: z.boolean(),
  ending: z.enum(["crashed", "removed", "discarded"]),
  failureReason: z.string(),
  routable: z.boolean(),
  netInfo: netInfoSchema.optional(),
  startInfo: startInfoSchema.optional(),
  stepsDone: z.array(z.string()).default([]),
  cacheKeys: z.array(z.string()).default([]),
});

export const encodeContainer = (record: ContainerRecord): string =>
  JSON.stringify({ version: 1, ...record, reservedAtMs: undefined });

/** `undefined` for what this rep cannot read: its container is then one that nobody can adopt. */
export function decodeContainer(text: string, nowMs: number): ContainerRecord | undefined {
  let raw: unknown;
  try {
    raw = JSON.parse(text);
  } catch {
    return undefined;
  }
  const parsed = storedSchema.safeParse(raw);
  if (!parsed.success) return undefined;
  const { version: _, key, task, instanceGuid, state, netInfo, startInfo, ...rest } = parsed.data;
  const lrpKey: ActualLRPKey = {
    processGuid: asProcessGuid(key.processGuid),
    index: key.index,
    domain: asDomainName(key.domain),
  };
  return {
    ...rest,
    key: lrpKey,
    task: task === undefined ? undefined : { ...task, guid: asTaskGuid(task.guid), outcome: task.outcome },
    instanceGuid: asInstanceGuid(instanceGuid),
    state: state as ContainerRecord["state"],
    reservedAtMs: nowMs,
    netInfo: netInfo as ActualLRPNetInfo | undefined,
    startInfo,
  };
}

export interface ContainerStore {
  /** Every readable record. */
  load(nowMs: number): Promise<readonly ContainerRecord[]>;
  /** Resolves once a rep that starts anew would read it. */
  put(record: ContainerRecord): Promise<void>;
  delete(instanceGuid: string): Promise<void>;
}

/** For tests and the simulator: outlives the Rep object as a folder outlives the process. */
export function memoryContainerStore(): ContainerStore {
  const records = new Map<string, string>();
  return {
    load: async (nowMs) =>
      [...records.values()].map((text) => decodeContainer(text, nowMs)).filter((record) => record !== undefined),
    put: async (record) => {
      records.set(record.instanceGuid, encodeContainer(record));
    },
    delete: async (guid) => {
      records.delete(guid);
    },
  };
}
