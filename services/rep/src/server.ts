// The rep's gRPC interface: who may call what, and which method of the cell's logic answers.
import {
  LogStream,
  type LogsRequest,
  type LogsResponse,
  type RepServiceServer,
  RepServiceService,
} from "@muster/proto/muster/v1/rep";
import { BbsError } from "@muster/shared/errors";
import { type CallInfo, type GrpcServer, type ServeOptions, serveGrpc, streamHandler, unaryHandler } from "@muster/shared/rpc";
import type { Role, TlsMaterial } from "@muster/shared/tls";
import type { LogLine } from "./logs/hub.js";
import type { Rep } from "./rep.js";

/** @throws BbsError PermissionDenied */
function allow(info: CallInfo, ...roles: readonly Role[]): void {
  const { role } = info.peer;
  if (role === "cell" || !roles.includes(role)) throw new BbsError("PermissionDenied", undefined, { role });
}

const logMessage = (line: LogLine): LogsResponse => ({
  processGuid: line.processGuid,
  index: line.index,
  instanceGuid: line.instanceGuid,
  timeNs: line.timeNs,
  source: line.source,
  stream: line.stream === "stdout" ? LogStream.LOG_STREAM_STDOUT : LogStream.LOG_STREAM_STDERR,
  line: Buffer.from(line.line),
});

async function* logsOf(rep: Rep, request: LogsRequest, info: CallInfo): AsyncGenerator<LogsResponse, void, undefined> {
  if (request.instanceGuid === "" && request.processGuid === "") {
    throw new BbsError("InvalidRequest", "name an instance guid or a process guid");
  }
  const lines = request.follow ? rep.logs.follow(request, info.signal) : rep.logs.recent(request);
  for await (const line of lines) yield logMessage(line);
}

/** Their names, as metrics have them. */
export const repCalls = ["State", "Perform", "StopLRPInstance", "Evacuate", "Logs", "ContainerMetrics"] as const;

/** The calls of RepService on one cell. */
export function repHandlers(rep: Rep, options: ServeOptions): RepServiceServer {
  return {
    state: streamHandler("State", options, (_request, info) => {
      allow(info, "auctioneer", "operator");
      return rep.state(info.signal);
    }),
    perform: unaryHandler("Perform", options, async (request, info) => {
      allow(info, "auctioneer");
      return rep.perform(request);
    }),
    stopLrpInstance: unaryHandler("StopLRPInstance", options, async (request, info) => {
      allow(info, "operator");
      rep.stopInstance(request.processGuid, request.instanceGuid);
      return {};
    }),
    evacuate: unaryHandler("Evacuate", options, async (request, info) => {
      allow(info, "operator");
      return rep.evacuate(request);
    }),
    logs: streamHandler("Logs", options, (request, info) => {
      allow(info, "operator");
      return logsOf(rep, request, info);
    }),
    containerMetrics: unaryHandler("ContainerMetrics", options, async (_request, info) => {
      allow(info, "operator");
      return { containers: await rep.containerMetrics() };
    }),
  };
}

/** Serves the cell on `address`. @throws OperatorError when it cannot listen there */
export const serveRep = (address: string, tls: TlsMaterial, rep: Rep, options: ServeOptions): Promise<GrpcServer> =>
  serveGrpc(address, tls, (server) => server.addService(RepServiceService, repHandlers(rep, options)), {
    setting: "listen_address",
  });
