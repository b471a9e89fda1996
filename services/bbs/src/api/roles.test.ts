// The whole square: every role with every call, and every name a request may carry.
import { LocketService } from "@muster/proto/models/locket";
import { BackupServiceService } from "@muster/proto/muster/v1/backup";
import { BBSServiceService } from "@muster/proto/muster/v1/bbs";
import { FeatureFlagServiceService } from "@muster/proto/muster/v1/feature_flags";
import { HistoryServiceService } from "@muster/proto/muster/v1/history";
import { RepairServiceService } from "@muster/proto/muster/v1/repair";
import { ReportServiceService } from "@muster/proto/muster/v1/report";
import { WatchServiceService } from "@muster/proto/muster/v1/watch";
import { isBbsError } from "@muster/shared/errors";
import type { Peer } from "@muster/shared/tls";
import { describe, expect, it } from "vitest";
import { streamRoutes } from "./http/streams.js";
import { authorize, authorizeRequest, type CallName, callRules } from "./roles.js";

const peers: Readonly<Record<Peer["role"], Peer>> = {
  operator: { role: "operator" },
  controller: { role: "controller" },
  auctioneer: { role: "auctioneer" },
  converger: { role: "converger" },
  bbs: { role: "bbs" },
  cell: { role: "cell", cellId: "cell-1" },
};

const owners = ["operator", "controller"];

/** Written out by hand, so that a slip in the table is not repeated here. */
const allowed: Readonly<Record<CallName, readonly string[]>> = {
  Ping: Object.keys(peers),
  Domains: owners,
  UpsertDomain: owners,
  ActualLRPs: owners,
  ActualLRPsByProcessGuids: owners,
  ActualLRPGroups: owners,
  ActualLRPGroupsByProcessGuid: owners,
  ActualLRPGroupByProcessGuidAndIndex: owners,
  ClaimActualLRP: ["cell"],
  StartActualLRP: ["cell"],
  CrashActualLRP: ["cell"],
  RemoveActualLRP: ["cell"],
  FailActualLRP: ["auctioneer"],
  RetireActualLRP: owners,
  RemoveEvacuatingActualLRP: ["cell"],
  EvacuateClaimedActualLRP: ["cell"],
  EvacuateRunningActualLRP: ["cell"],
  EvacuateStoppedActualLRP: ["cell"],
  EvacuateCrashedActualLRP: ["cell"],
  DesiredLRPs: owners,
  DesiredLRPByProcessGuid: [...owners, "cell"],
  DesiredLRPSchedulingInfos: owners,
  DesiredLRPSchedulingInfoByProcessGuid: owners,
  DesiredLRPRoutingInfos: owners,
  DesireDesiredLRP: owners,
  UpdateDesiredLRP: owners,
  RemoveDesiredLRP: owners,
  Tasks: owners,
  TaskByGuid: [...owners, "cell"],
  DesireTask: owners,
  StartTask: ["cell"],
  CancelTask: owners,
  FailTask: owners,
  RejectTask: ["auctioneer"],
  CompleteTask: ["cell"],
  ResolvingTask: owners,
  DeleteTask: owners,
  Cells: [...owners, "auctioneer"],
  LRPGroupEvents: owners,
  LRPInstanceEvents: owners,
  TaskEvents: owners,
  Watch: [...owners, "auctioneer", "converger", "cell"],
  Report: ["cell"],
  Repair: ["operator", "converger"],
  ForgetCell: ["operator"],
  History: owners,
  Backup: ["operator"],
  ListFeatureFlags: owners,
  SetFeatureFlag: ["operator"],
  Lock: ["auctioneer", "converger"],
  Release: ["auctioneer", "converger"],
  Fetch: ["operator", "auctioneer", "converger"],
  FetchAll: ["operator"],
};

const calls = Object.keys(callRules) as CallName[];

const isDenied = (run: () => void): boolean => {
  try {
    run();
    return false;
  } catch (error) {
    if (isBbsError(error, "PermissionDenied")) return true;
    throw error;
  }
};

describe("the table of roles", () => {
  it("names every call of every service, and no other", () => {
    const services = [
      BBSServiceService,
      WatchServiceService,
      ReportServiceService,
      BackupServiceService,
      RepairServiceService,
      HistoryServiceService,
      FeatureFlagServiceService,
      LocketService,
    ];
    const served = services.flatMap((service) => Object.values(service).map(({ path }) => path.split("/").at(-1)));
    const streams = [...streamRoutes.values()].map(({ call }) => call);
    expect([...calls].sort()).toEqual([...served, ...new Set(streams)].sort());
  });

  it.each(calls.flatMap((call) => Object.keys(peers).map((role) => ({ call, role: role as Peer["role"] }))))(
    "decides $call for $role",
    ({ call, role }) => {
      expect(isDenied(() => authorize(peers[role], call))).toBe(!allowed[call].includes(role));
    },
  );
});

const instance = (cellId: string) => ({ actualLrpInstanceKey: { cellId, instanceGuid: "i" } });
const watching = (cellId: string, kinds: number[]) => ({ cellId, kinds });
const hello = (cellId: string) => ({ message: { $case: "hello", value: { presence: { cellId } } } });

describe("a cell acts in its own name only", () => {
  const ofInstance: CallName[] = [
    "ClaimActualLRP",
    "StartActualLRP",
    "CrashActualLRP",
    "RemoveActualLRP",
    "RemoveEvacuatingActualLRP",
    "EvacuateClaimedActualLRP",
    "EvacuateRunningActualLRP",
    "EvacuateStoppedActualLRP",
    "EvacuateCrashedActualLRP",
  ];
  it.each<{ call: CallName; own: unknown; foreign: unknown; nameless: unknown }>([
    ...ofInstance.map((call) => ({
      call,
      own: instance("cell-1"),
      foreign: instance("cell-2"),
      nameless: { actualLrpInstanceKey: undefined },
    })),
    ...(["StartTask", "CompleteTask"] as const).map((call) => ({
      call,
      own: { cellId: "cell-1" },
      foreign: { cellId: "cell-2" },
      nameless: { cellId: "" },
    })),
    { call: "Watch", own: watching("cell-1", [2, 3]), foreign: watching("cell-2", [2]), nameless: watching("", [2]) },
    { call: "Report", own: hello("cell-1"), foreign: hello("cell-2"), nameless: { message: { $case: "heartbeat", value: {} } } },
  ])("$call", ({ call, own, foreign, nameless }) => {
    expect(isDenied(() => authorizeRequest(peers.cell, call, own))).toBe(false);
    expect(isDenied(() => authorizeRequest(peers.cell, call, foreign))).toBe(true);
    expect(isDenied(() => authorizeRequest(peers.cell, call, nameless))).toBe(true);
  });

  it("may ask for what only the handler can judge", () => {
    expect(isDenied(() => authorizeRequest(peers.cell, "DesiredLRPByProcessGuid", { processGuid: "p" }))).toBe(false);
  });
});

describe("a lock is taken in its holder's name only", () => {
  it.each(["Lock", "Release"] as const)("%s", (call) => {
    const named = (key: string) => ({ resource: { key } });
    expect(isDenied(() => authorizeRequest(peers.auctioneer, call, named("auctioneer")))).toBe(false);
    expect(isDenied(() => authorizeRequest(peers.converger, call, named("converger")))).toBe(false);
    expect(isDenied(() => authorizeRequest(peers.converger, call, named("auctioneer")))).toBe(true);
    expect(isDenied(() => authorizeRequest(peers.converger, call, { resource: undefined }))).toBe(true);
    expect(isDenied(() => authorizeRequest(peers.cell, call, named("cell-1")))).toBe(true);
  });
});

it.each([
  { what: "rows and tasks", kinds: [2, 3], refused: false },
  { what: "no kinds, which means these", kinds: [], refused: false },
  { what: "desired LRPs", kinds: [1], refused: true },
  { what: "rows, and cells beside them", kinds: [2, 5], refused: true },
  { what: "flags", kinds: [6], refused: true },
  { what: "locks", kinds: [7], refused: true },
  { what: "a kind nobody knows", kinds: [99], refused: true },
])("a cell that watches $what", ({ kinds, refused }) => {
  expect(isDenied(() => authorizeRequest(peers.cell, "Watch", watching("cell-1", kinds)))).toBe(refused);
  expect(isDenied(() => authorizeRequest(peers.operator, "Watch", watching("cell-1", kinds)))).toBe(false);
});

it("roles that may make a call for any name are not asked for one", () => {
  expect(isDenied(() => authorizeRequest(peers.operator, "Watch", { cellId: "" }))).toBe(false);
  expect(isDenied(() => authorizeRequest(peers.auctioneer, "Watch", { cellId: "cell-9" }))).toBe(false);
});

it("a refusal says what was asked and by whom, for the log", () => {
  expect(() => authorizeRequest(peers.cell, "StartTask", { cellId: "cell-2" })).toThrow(
    expect.objectContaining({ facts: { call: "StartTask", role: "cell", own_name: "cell-1", named: "cell-2" } }),
  );
});
