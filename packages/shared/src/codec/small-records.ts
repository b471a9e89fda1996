// Domain, lock, feature flag and continuation: our records <-> stored bytes.
import * as stored from "@muster/proto/muster/store/v1/records";
import {
  asDomainName,
  asEpochMs,
  asProcessGuid,
  type Continuation,
  type Domain,
  type FeatureFlag,
  type Lock,
} from "../model/index.js";
import { corrupt } from "./support.js";

export const encodeDomain = (domain: Domain): Uint8Array =>
  stored.Domain.encode({
    name: domain.name,
    expiresAtMs: domain.expiresAtMs === undefined ? 0n : BigInt(Math.round(domain.expiresAtMs)),
  }).finish();

export function decodeDomain(bytes: Uint8Array): Domain {
  const message = stored.Domain.decode(bytes);
  return {
    name: asDomainName(message.name),
    expiresAtMs: message.expiresAtMs === 0n ? undefined : asEpochMs(Number(message.expiresAtMs)),
  };
}

export const encodeLock = (lock: Lock): Uint8Array => stored.Lock.encode({ ...lock }).finish();
export const decodeLock = (bytes: Uint8Array): Lock => stored.Lock.decode(bytes);

export const encodeFeatureFlag = (flag: FeatureFlag): Uint8Array => stored.FeatureFlag.encode({ ...flag }).finish();
export const decodeFeatureFlag = (bytes: Uint8Array): FeatureFlag => stored.FeatureFlag.decode(bytes);

const workToWire: Record<Continuation["work"], stored.Continuation_Work> = {
  STOP: stored.Continuation_Work.WORK_STOP,
  CREATE: stored.Continuation_Work.WORK_CREATE,
  UPDATE: stored.Continuation_Work.WORK_UPDATE,
};
const workFromWire = new Map(Object.entries(workToWire).map(([work, wire]) => [wire, work as Continuation["work"]]));

export const encodeContinuation = (record: Continuation): Uint8Array =>
  stored.Continuation.encode({
    processGuid: record.processGuid,
    domain: record.domain,
    fromIndex: record.fromIndex,
    work: workToWire[record.work],
  }).finish();

/** @throws BbsError Deserialize for work this build does not know: to pass it over would leave a command half done. */
export function decodeContinuation(bytes: Uint8Array): Continuation {
  const message = stored.Continuation.decode(bytes);
  const work = workFromWire.get(message.work);
  if (work === undefined) throw corrupt("Continuation");
  return {
    processGuid: asProcessGuid(message.processGuid),
    domain: asDomainName(message.domain),
    fromIndex: message.fromIndex,
    work,
  };
}
