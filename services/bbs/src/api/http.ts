// Diego's HTTP API: raw protobuf bodies over mutual TLS, errors in-band. A thin door to the same calls that gRPC serves.
// Routes and rules: bbs-wire.md A.1-A.3. Evacuation, tasks, event streams and the deprecated reads are not served yet: 404.

import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer, type Server } from "node:https";
import type { TLSSocket } from "node:tls";
import type { ActualLRP } from "@muster/proto/models/actual_lrp";
import * as actual from "@muster/proto/models/actual_lrp_requests";
import { CellsResponse } from "@muster/proto/models/cells";
import type { DesiredLRP } from "@muster/proto/models/desired_lrp";
import * as desired from "@muster/proto/models/desired_lrp_requests";
import { DomainsResponse, UpsertDomainRequest, UpsertDomainResponse } from "@muster/proto/models/domain";
import type { Error as WireError } from "@muster/proto/models/error";
import { PingResponse } from "@muster/proto/models/ping";
import { BbsError, diegoTypeOf } from "@muster/shared/errors";
import { type BoundServer, bindServer } from "@muster/shared/metrics";
import type { ServeOptions } from "@muster/shared/rpc";
import { type Peer, peerOfCommonName, type TlsMaterial } from "@muster/shared/tls";
import type { CallContext, Calls } from "./calls.js";
import { authorizeRequest, type CallName } from "./roles.js";

interface Codec<Message> {
  decode(bytes: Uint8Array): Message;
  encode(message: Message): { finish(): Uint8Array };
}

/** Every response of Diego's has its error in field 1, but for ping, which has none. */
interface HasError {
  error: WireError | undefined;
}

interface Route {
  readonly call: CallName;
  readonly handle: (body: Uint8Array, context: CallContext) => Promise<Uint8Array>;
  readonly refuse: (error: WireError) => Uint8Array;
}

const bodyType = "application/x-protobuf";
/** The largest request that can be stored is 1.4 MiB; this leaves room for what is refused with a reason. */
const maxBodyBytes = 4 * 1024 * 1024;

/** Binds one route. An undecodable body (depth included) is InvalidRequest. */
function route<Request, Response extends HasError>(
  call: CallName,
  request: Codec<Request> | undefined,
  response: Codec<Response>,
  empty: Response,
  handle: (request: Request, context: CallContext) => Promise<Response>,
): Route {
  const decode = (body: Uint8Array): Request => {
    try {
      return request === undefined ? (undefined as Request) : request.decode(body);
    } catch (cause) {
      throw new BbsError("InvalidRequest", undefined, {}, cause);
    }
  };
  return {
    call,
    handle: async (body, context) => {
      const message = decode(body);
      authorizeRequest(context.peer, call, message);
      return response.encode(await handle(message, context)).finish();
    },
    refuse: (error) => response.encode({ ...empty, error }).finish(),
  };
}

function routesOf(calls: Calls): ReadonlyMap<string, Route> {
  const lifecycle = actual.ActualLRPLifecycleResponse;
  const desiredLifecycle = desired.DesiredLRPLifecycleResponse;
  const none = { error: undefined };
  const pingRoute: Route = {
    call: "Ping",
    handle: async () => PingResponse.encode(await calls.ping()).finish(),
    refuse: () => PingResponse.encode({ available: false }).finish(),
  };
  const rows = async (list: Promise<Iterable<ActualLRP>>) => ({ ...none, actualLrps: [...(await list)] });
  const groups = async (list: Promise<actual.ActualLRPGroupsResponse["actualLrpGroups"]>) => ({
    ...none,
    actualLrpGroups: await list,
  });
  const desires = async (list: Promise<Iterable<DesiredLRP>>) => ({ ...none, desiredLrps: [...(await list)] });
  const noRows = { ...none, actualLrps: [] };
  const noGroups = { ...none, actualLrpGroups: [] };
  const noDesires = { ...none, desiredLrps: [] };
  const start = route("StartActualLRP", actual.StartActualLRPRequest, lifecycle, none, (request) =>
    calls.startActualLRP(request),
  );
  return new Map<string, Route>([
    ["/v1/ping", pingRoute],
    ["/v1/domains/list", route("Domains", undefined, DomainsResponse, { ...none, domains: [] }, () => calls.domains())],
    ["/v1/domains/upsert", route("UpsertDomain", UpsertDomainRequest, UpsertDomainResponse, none, (r) => calls.upsertDomain(r))],
    ["/v1/cells/list.r1", route("Cells", undefined, CellsResponse, { ...none, cells: [] }, () => calls.cells())],
    [
      "/v1/actual_lrps/list",
      route("ActualLRPs", actual.ActualLRPsRequest, actual.ActualLRPsResponse, noRows, (r) => rows(calls.actualLRPs(r))),
    ],
    [
      "/v1/actual_lrps/list_by_process_guids",
      route(
        "ActualLRPsByProcessGuids",
        actual.ActualLRPsByProcessGuidsRequest,
        actual.ActualLRPsByProcessGuidsResponse,
        noRows,
        (r) => rows(calls.actualLRPsByProcessGuids(r)),
      ),
    ],
    [
      "/v1/actual_lrp_groups/list",
      route("ActualLRPGroups", actual.ActualLRPGroupsRequest, actual.ActualLRPGroupsResponse, noGroups, (r) =>
        groups(calls.actualLRPGroups(r)),
      ),
    ],
    [
      "/v1/actual_lrp_groups/list_by_process_guid",
      route(
        "ActualLRPGroupsByProcessGuid",
        actual.ActualLRPGroupsByProcessGuidRequest,
        actual.ActualLRPGroupsResponse,
        noGroups,
        (r) => groups(calls.actualLRPGroupsByProcessGuid(r)),
      ),
    ],
    [
      "/v1/actual_lrp_groups/get_by_process_guid_and_index",
      route(
        "ActualLRPGroupByProcessGuidAndIndex",
        actual.ActualLRPGroupByProcessGuidAndIndexRequest,
        actual.ActualLRPGroupResponse,
        { ...none, actualLrpGroup: undefined },
        (r) => calls.actualLRPGroupByProcessGuidAndIndex(r),
      ),
    ],
    [
      "/v1/actual_lrps/claim",
      route("ClaimActualLRP", actual.ClaimActualLRPRequest, lifecycle, none, (r) => calls.claimActualLRP(r)),
    ],
    ["/v1/actual_lrps/start.r1", start],
    [
      "/v1/actual_lrps/start",
      route("StartActualLRP", actual.StartActualLRPRequest, lifecycle, none, (r) =>
        calls.startActualLRP({ ...r, actualLrpInternalRoutes: [], metricTags: {} }),
      ),
    ],
    [
      "/v1/actual_lrps/crash",
      route("CrashActualLRP", actual.CrashActualLRPRequest, lifecycle, none, (r) => calls.crashActualLRP(r)),
    ],
    [
      "/v1/actual_lrps/fail",
      route("FailActualLRP", actual.FailActualLRPRequest, lifecycle, none, (r, c) => calls.failActualLRP(r, c)),
    ],
    [
      "/v1/actual_lrps/remove",
      route("RemoveActualLRP", actual.RemoveActualLRPRequest, lifecycle, none, (r) => calls.removeActualLRP(r)),
    ],
    [
      "/v1/actual_lrps/retire",
      route("RetireActualLRP", actual.RetireActualLRPRequest, lifecycle, none, (r) => calls.retireActualLRP(r)),
    ],
    [
      "/v1/desired_lrps/list.r3",
      route("DesiredLRPs", desired.DesiredLRPsRequest, desired.DesiredLRPsResponse, noDesires, (r) =>
        desires(calls.desiredLRPs(r)),
      ),
    ],
    [
      "/v1/desired_lrps/get_by_process_guid.r3",
      route(
        "DesiredLRPByProcessGuid",
        desired.DesiredLRPByProcessGuidRequest,
        desired.DesiredLRPResponse,
        { ...none, desiredLrp: undefined },
        (r, c) => calls.desiredLRPByProcessGuid(r, c),
      ),
    ],
    [
      "/v1/desired_lrp_scheduling_infos/list",
      route(
        "DesiredLRPSchedulingInfos",
        desired.DesiredLRPsRequest,
        desired.DesiredLRPSchedulingInfosResponse,
        { ...none, desiredLrpSchedulingInfos: [] },
        async (r) => ({ ...none, desiredLrpSchedulingInfos: [...(await calls.desiredLRPSchedulingInfos(r))] }),
      ),
    ],
    [
      "/v1/desired_lrp_scheduling_infos/get_by_process_guid",
      route(
        "DesiredLRPSchedulingInfoByProcessGuid",
        desired.DesiredLRPByProcessGuidRequest,
        desired.DesiredLRPSchedulingInfoByProcessGuidResponse,
        { ...none, desiredLrpSchedulingInfo: undefined },
        (r) => calls.desiredLRPSchedulingInfoByProcessGuid(r),
      ),
    ],
    [
      "/v1/desired_lrp_routing_infos/list",
      route("DesiredLRPRoutingInfos", desired.DesiredLRPsRequest, desired.DesiredLRPsResponse, noDesires, (r) =>
        desires(calls.desiredLRPRoutingInfos(r)),
      ),
    ],
    [
      "/v1/desired_lrp/desire.r2",
      route("DesireDesiredLRP", desired.DesireLRPRequest, desiredLifecycle, none, (r) => calls.desireLRP(r)),
    ],
    [
      "/v1/desired_lrp/update",
      route("UpdateDesiredLRP", desired.UpdateDesiredLRPRequest, desiredLifecycle, none, (r) => calls.updateDesiredLRP(r)),
    ],
    [
      "/v1/desired_lrp/remove",
      route("RemoveDesiredLRP", desired.RemoveDesiredLRPRequest, desiredLifecycle, none, (r) => calls.removeDesiredLRP(r)),
    ],
  ]);
}

const inBand = (error: unknown): WireError => {
  const known = error instanceof BbsError ? error : new BbsError("UnknownError");
  return { type: diegoTypeOf(known.code), message: known.message };
};

/** Reads a bounded body. @throws BbsError */
async function readBody(request: IncomingMessage): Promise<Uint8Array> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.byteLength;
    if (bytes > maxBodyBytes) throw new BbsError("InvalidRequest", `the request is larger than ${maxBodyBytes} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** @throws BbsError PermissionDenied for a certificate without a role. */
function peerOf(request: IncomingMessage): Peer {
  const commonName = (request.socket as TLSSocket).getPeerCertificate().subject?.CN;
  const peer = peerOfCommonName(Array.isArray(commonName) ? commonName[0] : commonName);
  if (peer === undefined) throw new BbsError("PermissionDenied", "the certificate names no role of Muster");
  return peer;
}

async function answer(found: Route, request: IncomingMessage, options: ServeOptions): Promise<Uint8Array> {
  const startedMs = options.elapsedMs();
  const finish = (code: string): void => options.observe?.(found.call, code, options.elapsedMs() - startedMs);
  try {
    const traceId = request.headers["x-vcap-request-id"];
    const body = await readBody(request);
    const reply = await found.handle(body, { peer: peerOf(request), traceId: typeof traceId === "string" ? traceId : "" });
    finish("ok");
    return reply;
  } catch (error) {
    const known = error instanceof BbsError;
    // A client that went away in the middle of its request is no fault of ours.
    if (!known && !request.destroyed) options.log.error({ err: error, step: found.call }, "call failed unexpectedly");
    finish(known ? error.code : "UnknownError");
    return found.refuse(inBand(error));
  }
}

function respond(response: ServerResponse, body: Uint8Array): void {
  response.writeHead(200, { "content-type": bodyType, "content-length": body.byteLength }).end(body);
}

/** Serves Diego's HTTP API at `host:port` over mutual TLS. @throws when it cannot be bound. */
export function serveHttp(address: string, tls: TlsMaterial, calls: Calls, serve: ServeOptions): Promise<BoundServer> {
  const routes = routesOf(calls);
  const options = { ...tls, requestCert: true, rejectUnauthorized: true, minVersion: "TLSv1.2" as const };
  const server: Server = createServer(options, (request, response) => {
    const found = routes.get(request.url ?? "");
    if (found === undefined) {
      response.writeHead(404).end();
      return;
    }
    if (request.method !== "POST") {
      response.writeHead(405).end();
      return;
    }
    void answer(found, request, serve).then((body) => respond(response, body));
  });
  server.headersTimeout = 5_000;
  server.requestTimeout = 30_000;
  server.maxConnections = 10_000;
  return bindServer(server, address);
}
