// Requests about ActualLRPs and their evacuation (bbs-semantics.md 2.1).
import type { ActualLRPInstanceKey, ActualLRPKey, ActualLRPNetInfo } from "@muster/proto/models/actual_lrp";
import type {
  ActualLRPGroupByProcessGuidAndIndexRequest,
  ActualLRPGroupsByProcessGuidRequest,
  ActualLRPsByProcessGuidsRequest,
  ClaimActualLRPRequest,
  CrashActualLRPRequest,
  FailActualLRPRequest,
  RemoveActualLRPRequest,
  RetireActualLRPRequest,
  StartActualLRPRequest,
} from "@muster/proto/models/actual_lrp_requests";
import type {
  EvacuateClaimedActualLRPRequest,
  EvacuateCrashedActualLRPRequest,
  EvacuateRunningActualLRPRequest,
  EvacuateStoppedActualLRPRequest,
  RemoveEvacuatingActualLRPRequest,
} from "@muster/proto/models/evacuation";
import { checkFilled } from "./actions.js";
import { type Faults, validate } from "./faults.js";
import { checkLength } from "./limits.js";

/** @throws BbsError InvalidRequest */
export const validateActualLRPsByProcessGuids = (request: ActualLRPsByProcessGuidsRequest): void =>
  validate((faults) => {
    if (request.processGuids.length === 0) faults.text("process_guids must not be empty");
  });

/** @throws BbsError InvalidRequest */
export const validateActualLRPGroupsByProcessGuid = (request: ActualLRPGroupsByProcessGuidRequest): void =>
  validate((faults) => checkFilled(faults, { process_guid: request.processGuid }));

/** @throws BbsError InvalidRequest */
export const validateActualLRPGroupByProcessGuidAndIndex = (request: ActualLRPGroupByProcessGuidAndIndexRequest): void =>
  validate((faults) => checkGuidAndIndex(faults, request));

/** The instance key is optional, and its content is compared, not validated. @throws BbsError InvalidRequest */
export const validateRemoveActualLRP = (request: RemoveActualLRPRequest): void =>
  validate((faults) => checkGuidAndIndex(faults, request));

/** The index is not checked, as in Diego: a negative one is not found. @throws BbsError InvalidRequest */
export const validateClaimActualLRP = (request: ClaimActualLRPRequest): void =>
  validate((faults) => {
    checkFilled(faults, { process_guid: request.processGuid });
    checkInstanceKey(faults, request.actualLrpInstanceKey);
  });

interface OfKey {
  readonly actualLrpKey: ActualLRPKey | undefined;
}
interface OfInstance extends OfKey {
  readonly actualLrpInstanceKey: ActualLRPInstanceKey | undefined;
}
interface OfRunningInstance extends OfInstance {
  readonly actualLrpNetInfo: ActualLRPNetInfo | undefined;
  readonly availabilityZone: string;
}

/** @throws BbsError InvalidRequest */
export const validateStartActualLRP = (request: StartActualLRPRequest): void =>
  validate((faults) => checkRunningInstance(faults, request));

/** The error message may be empty. @throws BbsError InvalidRequest */
export const validateCrashActualLRP = (request: CrashActualLRPRequest): void =>
  validate((faults) => checkInstance(faults, request));

/** @throws BbsError InvalidRequest */
export const validateFailActualLRP = (request: FailActualLRPRequest): void =>
  validate((faults) => {
    checkActualLRPKey(faults, request.actualLrpKey);
    checkFilled(faults, { error_message: request.errorMessage });
  });

/** @throws BbsError InvalidRequest */
export const validateRetireActualLRP = (request: RetireActualLRPRequest): void =>
  validate((faults) => checkActualLRPKey(faults, request.actualLrpKey));

/** @throws BbsError InvalidRequest */
export const validateEvacuateRunningActualLRP = (request: EvacuateRunningActualLRPRequest): void =>
  validate((faults) => checkRunningInstance(faults, request));

/** @throws BbsError InvalidRequest */
export const validateEvacuateCrashedActualLRP = (request: EvacuateCrashedActualLRPRequest): void =>
  validate((faults) => {
    checkInstance(faults, request);
    checkFilled(faults, { error_message: request.errorMessage });
  });

/** @throws BbsError InvalidRequest */
export const validateEvacuateClaimedActualLRP = (request: EvacuateClaimedActualLRPRequest): void =>
  validate((faults) => checkInstance(faults, request));

/** @throws BbsError InvalidRequest */
export const validateEvacuateStoppedActualLRP = (request: EvacuateStoppedActualLRPRequest): void =>
  validate((faults) => checkInstance(faults, request));

/** @throws BbsError InvalidRequest */
export const validateRemoveEvacuatingActualLRP = (request: RemoveEvacuatingActualLRPRequest): void =>
  validate((faults) => checkInstance(faults, request));

/** Of what a cell reports about an instance, whatever it is. @throws BbsError InvalidRequest */
export const validateInstance = (request: OfInstance): void => validate((faults) => checkInstance(faults, request));

export function checkActualLRPKey(faults: Faults, key: ActualLRPKey | undefined): void {
  if (key === undefined) {
    faults.field("actual_lrp_key");
    return;
  }
  checkGuidAndIndex(faults, key);
  checkFilled(faults, { domain: key.domain });
  // A Start may insert a row (rule W2), so these are columns to be.
  checkLength(faults, "process_guid", key.processGuid);
  checkLength(faults, "domain", key.domain);
}

export function checkInstanceKey(faults: Faults, key: ActualLRPInstanceKey | undefined): void {
  if (key === undefined) {
    faults.field("actual_lrp_instance_key");
    return;
  }
  checkFilled(faults, { cell_id: key.cellId, instance_guid: key.instanceGuid });
  checkLength(faults, "cell_id", key.cellId);
  checkLength(faults, "instance_guid", key.instanceGuid);
}

/** Ports and instance addresses are not validated. */
export function checkNetInfo(faults: Faults, netInfo: ActualLRPNetInfo | undefined): void {
  if (netInfo === undefined) faults.field("actual_lrp_net_info");
  else checkFilled(faults, { address: netInfo.address });
}

function checkGuidAndIndex(faults: Faults, request: { readonly processGuid: string; readonly index: number }): void {
  checkFilled(faults, { process_guid: request.processGuid });
  if (request.index < 0) faults.field("index");
}

function checkInstance(faults: Faults, request: OfInstance): void {
  checkActualLRPKey(faults, request.actualLrpKey);
  checkInstanceKey(faults, request.actualLrpInstanceKey);
}

function checkRunningInstance(faults: Faults, request: OfRunningInstance): void {
  checkInstance(faults, request);
  checkNetInfo(faults, request.actualLrpNetInfo);
  checkLength(faults, "availability_zone", request.availabilityZone);
}
