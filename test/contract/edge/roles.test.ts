// "Who may call what" of docs/operations.md, cell by cell: every call with every role's certificate, over the wire.
import { Client } from "@grpc/grpc-js";
import * as actualLRPs from "@muster/proto/models/actual_lrp_requests";
import * as evacuation from "@muster/proto/models/evacuation";
import * as locket from "@muster/proto/models/locket";
import * as tasks from "@muster/proto/models/task_requests";
import { BackupServiceService } from "@muster/proto/muster/v1/backup";
import { BBSServiceService } from "@muster/proto/muster/v1/bbs";
import { FeatureFlagServiceService } from "@muster/proto/muster/v1/feature_flags";
import { HistoryServiceService } from "@muster/proto/muster/v1/history";
import { RepairServiceService } from "@muster/proto/muster/v1/repair";
import * as report from "@muster/proto/muster/v1/report";
import * as watch from "@muster/proto/muster/v1/watch";
import { requests } from "@muster/proto/shapes";
import { dial, fromServiceError } from "@muster/shared/rpc";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type InProcessBbs, memoryHome, type StoreHome, startBbs, tlsOf } from "../../support/bbs.js";
import { coded, tableUnder } from "./docs.js";

const services = [
  BBSServiceService,
  watch.WatchServiceService,
  report.ReportServiceService,
  RepairServiceService,
  FeatureFlagServiceService,
  locket.LocketService,
  BackupServiceService,
  HistoryServiceService,
];
interface Method {
  readonly path: string;
  readonly requestStream: boolean;
  readonly responseStream: boolean;
}
const methods = new Map(
  services
    .flatMap((service): Method[] => Object.values(service))
    .map((method) => [method.path.slice(method.path.lastIndexOf("/") + 1), method]),
);

interface Codec {
  readonly $type: string;
  fromPartial(fields: object): unknown;
  encode(message: unknown): { finish(): Uint8Array };
}
const codecs = new Map(
  [actualLRPs, evacuation, locket, tasks, report, watch]
    .flatMap((module) => Object.values(module as object))
    .filter((one): one is Codec => typeof one === "object" && one !== null && "$type" in one)
    .map((codec) => [codec.$type, codec]),
);

const roles = ["operator", "controller", "auctioneer", "converger", "bbs", "cell"] as const;
type Role = (typeof roles)[number];
const commonName = (role: Role): string => (role === "cell" ? "cell:cell-1" : role);
const ownName = (role: Role): string => (role === "cell" ? "cell-1" : role);

/** A request that acts in this name; for calls without one, an empty request. */
function requestOf(method: Method, name: string): Buffer {
  const codec = codecs.get(requests[method.path] ?? "");
  if (codec === undefined) return Buffer.alloc(0);
  const fields = {
    actualLrpInstanceKey: { instanceGuid: "i", cellId: name },
    cellId: name,
    resource: { key: name, owner: "o", type: "lock" },
    message: { $case: "hello", value: { owner: "o", ttlMs: 5_000, presence: { cellId: name } } },
  };
  return Buffer.from(codec.encode(codec.fromPartial(fields)).finish());
}

let home: StoreHome;
let bbs: InProcessBbs;
let clients: Map<Role, Client>;
beforeAll(async () => {
  home = await memoryHome();
  bbs = await startBbs(home);
  const dialled = roles.map(async (role) => [role, dial(Client, [bbs.address], await tlsOf(commonName(role)))] as const);
  clients = new Map(await Promise.all(dialled));
});
afterAll(async () => {
  for (const client of clients.values()) client.close();
  await bbs[Symbol.asyncDispose]();
  await home[Symbol.asyncDispose]();
});

const same = (bytes: Buffer): Buffer => bytes;

/** The error a call ends or begins with; `undefined` when it gets an answer. */
function errorOf(role: Role, method: Method, request: Buffer): Promise<string | undefined> {
  const client = clients.get(role) as Client;
  return new Promise((resolve) => {
    const deadline = Date.now() + 20_000;
    if (!method.requestStream && !method.responseStream) {
      client.makeUnaryRequest(method.path, same, same, request, { deadline }, (error) =>
        resolve(error === null ? undefined : fromServiceError(error).code),
      );
      return;
    }
    const duplex = method.requestStream ? client.makeBidiStreamRequest(method.path, same, same, { deadline }) : undefined;
    duplex?.write(request);
    const call = duplex ?? client.makeServerStreamRequest(method.path, same, same, request, { deadline });
    call.on("error", (error) => resolve(fromServiceError(error).code));
    call.on("end", () => resolve(undefined));
    call.once("data", () => {
      resolve(undefined);
      call.cancel();
    });
  });
}

const table = tableUnder("Who may call what");
const documented = table.rows.flatMap(([calls = "", ...may]) =>
  coded(calls).map((call) => ({ call, may: new Map(table.head.slice(1).map((role, at) => [role, may[at] ?? ""])) })),
);

describe("who may call what, as documented", () => {
  it("names every call of every service once, and every role", () => {
    expect(documented.map(({ call }) => call).sort()).toEqual([...methods.keys()].sort());
    expect(table.head.slice(1)).toEqual([...roles]);
  });

  it.each(documented)("$call", async ({ call, may }) => {
    const method = methods.get(call) as Method;
    for (const role of roles) {
      const own = await errorOf(role, method, requestOf(method, ownName(role)));
      const expected = may.get(role);
      expect({ role, denied: own === "PermissionDenied" }).toEqual({ role, denied: expected === "" });
      if (expected !== "own") continue;
      const foreign = await errorOf(role, method, requestOf(method, "cell-2"));
      expect({ role, foreign }).toEqual({ role, foreign: "PermissionDenied" });
    }
  });
});
