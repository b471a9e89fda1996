// Diego's calls over the active BBS: validate, decide, answer. gRPC (and Diego's HTTP API) are thin doors to these.

import type { ActualLRPGroup, ActualLRP as WireActualLRP } from "@muster/proto/models/actual_lrp";
import type * as actual from "@muster/proto/models/actual_lrp_requests";
import type { CellsResponse } from "@muster/proto/models/cells";
import type { DesiredLRPSchedulingInfo, DesiredLRP as WireDesiredLRP } from "@muster/proto/models/desired_lrp";
import type * as desired from "@muster/proto/models/desired_lrp_requests";
import type { DomainsResponse, UpsertDomainRequest, UpsertDomainResponse } from "@muster/proto/models/domain";
import type * as evacuation from "@muster/proto/models/evacuation";
import type { PingResponse } from "@muster/proto/models/ping";
import {
  actualLRPKeyFromWire,
  actualLRPToWire,
  cellPresenceToWire,
  desiredLRPToWire,
  instanceKeyFromWire,
  netInfoFromWire,
  routingInfoToWire,
  schedulingInfoToWire,
} from "@muster/shared/codec";
import { BbsError } from "@muster/shared/errors";
import { type ActualLRP, asProcessGuid, type DesiredLRP, type ProcessGuid } from "@muster/shared/model";
import { isLive } from "@muster/shared/rules";
import type { ActiveBbs } from "../active/active-bbs.js";
import {
  claimActualLRP,
  crashActualLRP,
  failActualLRP,
  removeActualLRP,
  retireActualLRP,
  type StartRequest,
  startActualLRP,
} from "../core/actual-lrp.js";
import type { CoreState } from "../core/decision.js";
import { desireLRP, removeDesiredLRP, updateDesiredLRP } from "../core/desired-lrp.js";
import {
  evacuateClaimedActualLRP,
  evacuateCrashedActualLRP,
  evacuateRunningActualLRP,
  evacuateStoppedActualLRP,
  removeEvacuatingActualLRP,
} from "../core/evacuation.js";
import { upsertDomain } from "../core/small-commands.js";
import * as validation from "../core/validation/index.js";
import { groupOf, groupToWire } from "../events/group.js";
import type { EventHubs } from "../events/hub.js";
import type { CommandOrigin } from "../journal/options.js";
import type { ListRoom } from "./chunks.js";
import { pickDesired } from "./desired-filter.js";
import { evacuationAnswer } from "./evacuation-answers.js";
import { resolveGroups } from "./groups.js";
import { type CallContext, listed, readable } from "./support.js";
import { TaskCalls } from "./task-calls.js";

export type { CallContext } from "./support.js";

const done = { error: undefined };

/** Only these calls of Diego's put the caller's trace id into events: desire, update and remove of an LRP, and retire. */
const originOf = (context: CallContext | undefined): CommandOrigin => ({ traceId: context?.traceId });

/** A validated request holds both keys. */
function keysOf(request: Pick<actual.CrashActualLRPRequest, "actualLrpKey" | "actualLrpInstanceKey">) {
  const instanceKey = instanceKeyFromWire(request.actualLrpInstanceKey);
  if (request.actualLrpKey === undefined || instanceKey === undefined) throw new BbsError("InvalidRequest");
  return { key: actualLRPKeyFromWire(request.actualLrpKey), instanceKey };
}

/** A validated request holds both keys and an address. */
function startRequestOf(request: actual.StartActualLRPRequest | evacuation.EvacuateRunningActualLRPRequest): StartRequest {
  const netInfo = netInfoFromWire(request.actualLrpNetInfo);
  if (netInfo === undefined) throw new BbsError("InvalidRequest");
  return {
    ...keysOf(request),
    netInfo,
    internalRoutes: request.actualLrpInternalRoutes.map((route) => route.hostname),
    metricTags: new Map(Object.entries(request.metricTags)),
    routable: request.optionalRoutable?.value ?? true,
    availabilityZone: request.availabilityZone,
  };
}

/** Every call of Diego's; those about tasks are inherited. */
export class Calls extends TaskCalls {
  readonly #active: ActiveBbs;

  constructor(active: ActiveBbs) {
    super(active);
    this.#active = active;
  }

  /** Where long lists find room. */
  get room(): ListRoom {
    return this.#active;
  }

  /** What Diego's event streams subscribe to. */
  get events(): EventHubs {
    return this.#active.events;
  }

  async ping(): Promise<PingResponse> {
    await this.#active.journal.read(() => undefined);
    return { available: true };
  }

  // --- domains and cells

  domains(): Promise<DomainsResponse> {
    return this.#active.journal.read((state, nowMs) => ({
      error: undefined,
      domains: [...state.tables.domains.values()]
        .filter((domain) => domain.expiresAtMs === undefined || domain.expiresAtMs > nowMs)
        .map((domain) => domain.name),
    }));
  }

  async upsertDomain(request: UpsertDomainRequest): Promise<UpsertDomainResponse> {
    validation.validateUpsertDomain(request);
    await this.#active.journal.submit(upsertDomain(request.domain, request.ttl));
    return done;
  }

  cells(): Promise<CellsResponse> {
    return this.#active.journal.read((state) => ({
      error: undefined,
      cells: [...state.tables.cells.values()].filter(isLive).map(cellPresenceToWire),
    }));
  }

  // --- actual LRPs: reads

  actualLRPs(request: actual.ActualLRPsRequest): Promise<Iterable<WireActualLRP>> {
    const index = request.optionalIndex?.value;
    return this.#active.journal.read((state) => listed(only(pickRows(state, request), { ...request, index }), actualLRPToWire));
  }

  async actualLRPsByProcessGuids(request: actual.ActualLRPsByProcessGuidsRequest): Promise<Iterable<WireActualLRP>> {
    validation.validateActualLRPsByProcessGuids(request);
    return this.#active.journal.read((state) =>
      listed(
        [...new Set(request.processGuids)].flatMap((guid) => [...state.tables.rowsOfProcess(asProcessGuid(guid))]),
        actualLRPToWire,
      ),
    );
  }

  actualLRPGroups(request: actual.ActualLRPGroupsRequest): Promise<Iterable<ActualLRPGroup>> {
    const filter = { ...request, processGuid: "" };
    return this.#active.journal.read((state) => resolveGroups(only(pickRows(state, filter), filter)));
  }

  async actualLRPGroupsByProcessGuid(request: actual.ActualLRPGroupsByProcessGuidRequest): Promise<Iterable<ActualLRPGroup>> {
    validation.validateActualLRPGroupsByProcessGuid(request);
    return this.#active.journal.read((state) =>
      resolveGroups([...state.tables.rowsOfProcess(asProcessGuid(request.processGuid))]),
    );
  }

  async actualLRPGroupByProcessGuidAndIndex(
    request: actual.ActualLRPGroupByProcessGuidAndIndexRequest,
  ): Promise<actual.ActualLRPGroupResponse> {
    validation.validateActualLRPGroupByProcessGuidAndIndex(request);
    return this.#active.journal.read((state) => {
      const rows = state.tables.instancesOfProcess(asProcessGuid(request.processGuid)).get(request.index);
      if (rows === undefined) throw new BbsError("ResourceNotFound");
      return { error: undefined, actualLrpGroup: groupToWire(groupOf(rows)) };
    });
  }

  // --- actual LRPs: their life

  async claimActualLRP(request: actual.ClaimActualLRPRequest): Promise<actual.ActualLRPLifecycleResponse> {
    validation.validateClaimActualLRP(request);
    const instanceKey = instanceKeyFromWire(request.actualLrpInstanceKey);
    if (instanceKey === undefined) throw new BbsError("InvalidRequest");
    await this.#active.journal.submit(
      claimActualLRP({ processGuid: asProcessGuid(request.processGuid), index: request.index, instanceKey }),
    );
    return done;
  }

  async startActualLRP(request: actual.StartActualLRPRequest): Promise<actual.ActualLRPLifecycleResponse> {
    validation.validateStartActualLRP(request);
    await this.#active.journal.submit(startActualLRP(startRequestOf(request)));
    return done;
  }

  async crashActualLRP(request: actual.CrashActualLRPRequest): Promise<actual.ActualLRPLifecycleResponse> {
    validation.validateCrashActualLRP(request);
    await this.#active.journal.submit(crashActualLRP({ ...keysOf(request), reason: request.errorMessage }));
    return done;
  }

  async failActualLRP(request: actual.FailActualLRPRequest, context: CallContext): Promise<actual.ActualLRPLifecycleResponse> {
    validation.validateFailActualLRP(request);
    if (request.actualLrpKey === undefined) throw new BbsError("InvalidRequest");
    const key = actualLRPKeyFromWire(request.actualLrpKey);
    await this.#active.journal.submit(failActualLRP({ key, message: request.errorMessage, auctionId: context.auctionId }));
    return done;
  }

  async removeActualLRP(request: actual.RemoveActualLRPRequest): Promise<actual.ActualLRPLifecycleResponse> {
    validation.validateRemoveActualLRP(request);
    const instanceKey = instanceKeyFromWire(request.actualLrpInstanceKey);
    await this.#active.journal.submit(
      removeActualLRP({ processGuid: asProcessGuid(request.processGuid), index: request.index, instanceKey }),
    );
    return done;
  }

  async retireActualLRP(
    request: actual.RetireActualLRPRequest,
    context?: CallContext,
  ): Promise<actual.ActualLRPLifecycleResponse> {
    validation.validateRetireActualLRP(request);
    if (request.actualLrpKey === undefined) throw new BbsError("InvalidRequest");
    await this.#active.journal.submit(retireActualLRP(actualLRPKeyFromWire(request.actualLrpKey)), originOf(context));
    return done;
  }

  // --- evacuation

  async removeEvacuatingActualLRP(
    request: evacuation.RemoveEvacuatingActualLRPRequest,
  ): Promise<evacuation.RemoveEvacuatingActualLRPResponse> {
    validation.validateRemoveEvacuatingActualLRP(request);
    await this.#active.journal.submit(removeEvacuatingActualLRP(keysOf(request)));
    return done;
  }

  evacuateClaimedActualLRP(request: evacuation.EvacuateClaimedActualLRPRequest): Promise<evacuation.EvacuationResponse> {
    return evacuationAnswer(
      "EvacuateClaimedActualLRP",
      () => validation.validateEvacuateClaimedActualLRP(request),
      () => this.#active.journal.submit(evacuateClaimedActualLRP(keysOf(request))),
    );
  }

  /** `knowsRoutes`: false for the r0 form, which has neither internal routes nor metric tags. */
  evacuateRunningActualLRP(
    request: evacuation.EvacuateRunningActualLRPRequest,
    knowsRoutes = true,
  ): Promise<evacuation.EvacuationResponse> {
    return evacuationAnswer(
      "EvacuateRunningActualLRP",
      () => validation.validateEvacuateRunningActualLRP(request),
      () => this.#active.journal.submit(evacuateRunningActualLRP({ ...startRequestOf(request), knowsRoutes })),
    );
  }

  evacuateStoppedActualLRP(request: evacuation.EvacuateStoppedActualLRPRequest): Promise<evacuation.EvacuationResponse> {
    return evacuationAnswer(
      "EvacuateStoppedActualLRP",
      () => validation.validateEvacuateStoppedActualLRP(request),
      () => this.#active.journal.submit(evacuateStoppedActualLRP(keysOf(request))),
    );
  }

  evacuateCrashedActualLRP(request: evacuation.EvacuateCrashedActualLRPRequest): Promise<evacuation.EvacuationResponse> {
    return evacuationAnswer(
      "EvacuateCrashedActualLRP",
      () => validation.validateEvacuateCrashedActualLRP(request),
      () => this.#active.journal.submit(evacuateCrashedActualLRP({ ...keysOf(request), reason: request.errorMessage })),
    );
  }

  // --- desired LRPs

  async desireLRP(request: desired.DesireLRPRequest, context?: CallContext): Promise<desired.DesiredLRPLifecycleResponse> {
    validation.validateDesireLRP(request);
    if (request.desiredLrp === undefined) throw new BbsError("InvalidRequest");
    const { routes } = request.desiredLrp;
    await this.#active.journal.submit(
      desireLRP({ ...request.desiredLrp, routes: validation.compactRoutes(routes) }),
      originOf(context),
    );
    return done;
  }

  async updateDesiredLRP(
    request: desired.UpdateDesiredLRPRequest,
    context?: CallContext,
  ): Promise<desired.DesiredLRPLifecycleResponse> {
    validation.validateUpdateDesiredLRP(request);
    if (request.update === undefined) throw new BbsError("InvalidRequest");
    const update = { ...request.update, routes: validation.compactRoutes(request.update.routes) };
    await this.#active.journal.submit(updateDesiredLRP(asProcessGuid(request.processGuid), update), originOf(context));
    return done;
  }

  async removeDesiredLRP(
    request: desired.RemoveDesiredLRPRequest,
    context?: CallContext,
  ): Promise<desired.DesiredLRPLifecycleResponse> {
    validation.validateRemoveDesiredLRP(request);
    await this.#active.journal.submit(removeDesiredLRP(asProcessGuid(request.processGuid)), originOf(context));
    return done;
  }

  async desiredLRPs(request: desired.DesiredLRPsRequest): Promise<Iterable<WireDesiredLRP>> {
    const picked = await this.#active.journal.read((state) =>
      pickDesired(state.tables, request).map((record) => ({
        record,
        sealed: state.tables.runInfos.get(record.processGuid)?.sealed,
      })),
    );
    return listed(picked, ({ record, sealed }) => this.#opened(record, sealed));
  }

  /** A cell may read the run information of what it holds CLAIMED or RUNNING, and of nothing else. */
  async desiredLRPByProcessGuid(
    request: desired.DesiredLRPByProcessGuidRequest,
    { peer }: CallContext,
  ): Promise<desired.DesiredLRPResponse> {
    validation.validateDesiredLRPByProcessGuid(request);
    const processGuid = asProcessGuid(request.processGuid);
    const { record, sealed } = await this.#active.journal.read((state) => {
      if (peer.role === "cell") requireHeld(state, processGuid, peer.cellId);
      const found = state.tables.desiredLRP(processGuid);
      if (found === undefined) throw new BbsError("ResourceNotFound");
      return { record: found, sealed: state.tables.runInfos.get(processGuid)?.sealed };
    });
    return { error: undefined, desiredLrp: this.#opened(record, sealed) };
  }

  #opened(record: DesiredLRP, sealed: Uint8Array | undefined) {
    return readable("run information of process", record.processGuid, sealed, (bytes) =>
      desiredLRPToWire(record, this.#active.secrets.open(bytes)),
    );
  }

  desiredLRPSchedulingInfos(request: desired.DesiredLRPsRequest): Promise<Iterable<DesiredLRPSchedulingInfo>> {
    return this.#active.journal.read((state) => listed(pickDesired(state.tables, request), schedulingInfoToWire));
  }

  async desiredLRPSchedulingInfoByProcessGuid(
    request: desired.DesiredLRPByProcessGuidRequest,
  ): Promise<desired.DesiredLRPSchedulingInfoByProcessGuidResponse> {
    validation.validateDesiredLRPByProcessGuid(request);
    return this.#active.journal.read((state) => {
      const record = state.tables.desiredLRP(asProcessGuid(request.processGuid));
      if (record === undefined) throw new BbsError("ResourceNotFound");
      return { error: undefined, desiredLrpSchedulingInfo: schedulingInfoToWire(record) };
    });
  }

  desiredLRPRoutingInfos(request: desired.DesiredLRPsRequest): Promise<Iterable<WireDesiredLRP>> {
    return this.#active.journal.read((state) => listed(pickDesired(state.tables, request), routingInfoToWire));
  }
}

/** Starts from the narrowest index that the filter allows. */
function pickRows(state: CoreState, filter: { readonly cellId: string; readonly processGuid: string }): ActualLRP[] {
  if (filter.processGuid !== "") return [...state.tables.rowsOfProcess(asProcessGuid(filter.processGuid))];
  if (filter.cellId !== "") return [...state.tables.rowsOnCell(filter.cellId as never)];
  return [...state.tables.actualLRPs.values()];
}

interface RowFilter {
  readonly domain: string;
  readonly cellId: string;
  readonly processGuid: string;
  readonly index?: number | undefined;
}

/** A list of everything is not looked at row by row: 250,000 of them would be a long tick. */
const only = (rows: ActualLRP[], filter: RowFilter): ActualLRP[] =>
  filter.domain === "" && filter.cellId === "" && filter.processGuid === "" && filter.index === undefined
    ? rows
    : rows.filter((row) => matches(row, filter));

const matches = (row: ActualLRP, filter: RowFilter): boolean =>
  (filter.index === undefined || row.index === filter.index) &&
  (filter.domain === "" || row.domain === filter.domain) &&
  (filter.cellId === "" || row.instanceKey?.cellId === filter.cellId) &&
  (filter.processGuid === "" || row.processGuid === filter.processGuid);

function requireHeld(state: CoreState, processGuid: ProcessGuid, cellId: string): void {
  for (const row of state.tables.rowsOfProcess(processGuid)) if (row.instanceKey?.cellId === cellId) return;
  throw new BbsError("PermissionDenied", `cell ${cellId} holds no instance of this process`, { process_guid: processGuid });
}
