// One codec file per noun; this table is all that the journal and the watch need to know of them.
import { RecordKind as WireKind } from "@muster/proto/muster/v1/watch";
import type { RecordKind, RecordOf } from "../model/index.js";
import { decodeActualLRP, encodeActualLRP } from "./actual-lrp.js";
import { decodeCell, encodeCell } from "./cell.js";
import { decodeDesiredLRP, decodeRunInfo, encodeDesiredLRP, encodeRunInfo } from "./desired-lrp.js";
import {
  decodeContinuation,
  decodeDomain,
  decodeFeatureFlag,
  decodeLock,
  encodeContinuation,
  encodeDomain,
  encodeFeatureFlag,
  encodeLock,
} from "./small-records.js";
import { decodeTask, decodeTaskDefinition, encodeTask, encodeTaskDefinition } from "./task.js";

export * from "./actual-lrp.js";
export * from "./cell.js";
export * from "./desired-lrp.js";
export { toBuffer } from "./support.js";
export * from "./task.js";

interface RecordCodec<Kind extends RecordKind> {
  /** First part of the stored key: `<prefix>/<record key>`. */
  readonly prefix: string;
  /** How the watch names it; `undefined`: never on the watch (secrets, internal work). */
  readonly wireKind: WireKind | undefined;
  readonly encode: (record: RecordOf[Kind]) => Uint8Array;
  /** @throws BbsError Deserialize, or a protobuf error. */
  readonly decode: (bytes: Uint8Array) => RecordOf[Kind];
}

export const recordCodecs: { readonly [Kind in RecordKind]: RecordCodec<Kind> } = {
  desiredLRP: {
    prefix: "desired",
    wireKind: WireKind.RECORD_KIND_DESIRED_LRP,
    encode: encodeDesiredLRP,
    decode: decodeDesiredLRP,
  },
  actualLRP: { prefix: "actual", wireKind: WireKind.RECORD_KIND_ACTUAL_LRP, encode: encodeActualLRP, decode: decodeActualLRP },
  task: { prefix: "task", wireKind: WireKind.RECORD_KIND_TASK, encode: encodeTask, decode: decodeTask },
  domain: { prefix: "domain", wireKind: WireKind.RECORD_KIND_DOMAIN, encode: encodeDomain, decode: decodeDomain },
  cell: { prefix: "cell", wireKind: WireKind.RECORD_KIND_CELL, encode: encodeCell, decode: decodeCell },
  featureFlag: {
    prefix: "flag",
    wireKind: WireKind.RECORD_KIND_FEATURE_FLAG,
    encode: encodeFeatureFlag,
    decode: decodeFeatureFlag,
  },
  lock: { prefix: "lock", wireKind: WireKind.RECORD_KIND_LOCK, encode: encodeLock, decode: decodeLock },
  runInfo: { prefix: "runinfo", wireKind: undefined, encode: encodeRunInfo, decode: decodeRunInfo },
  taskDefinition: { prefix: "taskdef", wireKind: undefined, encode: encodeTaskDefinition, decode: decodeTaskDefinition },
  continuation: { prefix: "more", wireKind: undefined, encode: encodeContinuation, decode: decodeContinuation },
};

const kindByPrefix = new Map(Object.entries(recordCodecs).map(([kind, codec]) => [codec.prefix, kind as RecordKind]));
const kindByWire = new Map(
  Object.entries(recordCodecs).flatMap(([kind, codec]) =>
    codec.wireKind === undefined ? [] : [[codec.wireKind, kind as RecordKind]],
  ),
);

export const storeKeyOf = (kind: RecordKind, key: string): string => `${recordCodecs[kind].prefix}/${key}`;

/** The kind and record key of a stored key; `undefined` for keys this build does not know. */
export function parseStoreKey(storeKey: string): { readonly kind: RecordKind; readonly key: string } | undefined {
  const slash = storeKey.indexOf("/");
  const kind = kindByPrefix.get(storeKey.slice(0, slash));
  return slash < 0 || kind === undefined ? undefined : { kind, key: storeKey.slice(slash + 1) };
}

/** The kind a watch message names; `undefined` for one this build does not know. */
export const kindOfWire = (kind: WireKind): RecordKind | undefined => kindByWire.get(kind);

export const encodeRecord = <Kind extends RecordKind>(kind: Kind, record: RecordOf[Kind]): Uint8Array =>
  recordCodecs[kind].encode(record);

export const decodeRecord = <Kind extends RecordKind>(kind: Kind, bytes: Uint8Array): RecordOf[Kind] =>
  recordCodecs[kind].decode(bytes);
