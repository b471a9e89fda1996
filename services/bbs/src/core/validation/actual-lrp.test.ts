// The requests about ActualLRPs, their evacuation and domains of bbs-semantics.md 2.1.
import { describe, expect, it } from "vitest";
import * as validation from "./index.js";
import { fields, refusal } from "./testing.js";

const key = { processGuid: "p", index: 0, domain: "d" };
const instanceKey = { instanceGuid: "i", cellId: "c" };
const netInfo = { address: "10.0.0.1", ports: [], instanceAddress: "", instanceIpv6Address: "", preferredAddress: 0 as const };
const emptyKey = { processGuid: "", index: -1, domain: "" };
const emptyInstanceKey = { instanceGuid: "", cellId: "" };

const ofKey = { actualLrpKey: key };
const ofInstance = { ...ofKey, actualLrpInstanceKey: instanceKey };
const ofRunning = {
  ...ofInstance,
  actualLrpNetInfo: netInfo,
  actualLrpInternalRoutes: [],
  metricTags: {},
  optionalRoutable: undefined,
  availabilityZone: "",
};
const nothing = { actualLrpKey: undefined, actualLrpInstanceKey: undefined, actualLrpNetInfo: undefined };
const empties = {
  actualLrpKey: emptyKey,
  actualLrpInstanceKey: emptyInstanceKey,
  actualLrpNetInfo: { ...netInfo, address: "" },
};
const absentInstance = fields("actual_lrp_key", "actual_lrp_instance_key");
const emptyInstance = fields("process_guid", "index", "domain", "cell_id", "instance_guid");

interface Row {
  readonly call: string;
  readonly check: () => void;
  readonly says: readonly string[];
}

/** Good, absent and empty parts for a request that takes an instance. */
const instanceRows = <Request>(call: string, check: (request: Request) => void, good: Request, more: object = {}): Row[] => [
  { call, check: () => check(good), says: [] },
  {
    call,
    check: () => check({ ...good, ...nothing, ...more } as Request),
    says: [...absentInstance, ...moreFaults(good, more, true)],
  },
  {
    call,
    check: () => check({ ...good, ...empties, ...more } as Request),
    says: [...emptyInstance, ...moreFaults(good, more, false)],
  },
];
const moreFaults = (good: unknown, more: object, absent: boolean): readonly string[] => [
  ...(Object.hasOwn(good as object, "actualLrpNetInfo") ? fields(absent ? "actual_lrp_net_info" : "address") : []),
  ...(Object.hasOwn(more, "errorMessage") ? fields("error_message") : []),
];

describe("requests about ActualLRPs", () => {
  it.each<Row>([
    ...instanceRows("start", validation.validateStartActualLRP, ofRunning),
    ...instanceRows("crash", validation.validateCrashActualLRP, { ...ofInstance, errorMessage: "" }),
    ...instanceRows("evacuate running", validation.validateEvacuateRunningActualLRP, ofRunning),
    ...instanceRows(
      "evacuate crashed",
      validation.validateEvacuateCrashedActualLRP,
      { ...ofInstance, errorMessage: "x" },
      { errorMessage: "" },
    ),
    ...instanceRows("evacuate claimed", validation.validateEvacuateClaimedActualLRP, ofInstance),
    ...instanceRows("evacuate stopped", validation.validateEvacuateStoppedActualLRP, ofInstance),
    ...instanceRows("remove evacuating", validation.validateRemoveEvacuatingActualLRP, ofInstance),
    {
      call: "claim",
      check: () => validation.validateClaimActualLRP({ processGuid: "p", index: -1, actualLrpInstanceKey: instanceKey }),
      says: [],
    },
    {
      call: "claim",
      check: () => validation.validateClaimActualLRP({ processGuid: "", index: 0, actualLrpInstanceKey: undefined }),
      says: fields("process_guid", "actual_lrp_instance_key"),
    },
    {
      call: "claim",
      check: () => validation.validateClaimActualLRP({ processGuid: "p", index: 0, actualLrpInstanceKey: emptyInstanceKey }),
      says: fields("cell_id", "instance_guid"),
    },
    { call: "fail", check: () => validation.validateFailActualLRP({ ...ofKey, errorMessage: "x" }), says: [] },
    {
      call: "fail",
      check: () => validation.validateFailActualLRP({ actualLrpKey: undefined, errorMessage: "" }),
      says: fields("actual_lrp_key", "error_message"),
    },
    { call: "retire", check: () => validation.validateRetireActualLRP(ofKey), says: [] },
    {
      call: "retire",
      check: () => validation.validateRetireActualLRP({ actualLrpKey: emptyKey }),
      says: fields("process_guid", "index", "domain"),
    },
    {
      call: "remove",
      check: () => validation.validateRemoveActualLRP({ processGuid: "p", index: 0, actualLrpInstanceKey: undefined }),
      says: [],
    },
    {
      call: "remove, whatever the instance key holds",
      check: () => validation.validateRemoveActualLRP({ processGuid: "", index: -1, actualLrpInstanceKey: emptyInstanceKey }),
      says: fields("process_guid", "index"),
    },
    {
      call: "by guids",
      check: () => validation.validateActualLRPsByProcessGuids({ processGuids: [] }),
      says: ["process_guids must not be empty"],
    },
    { call: "by guids", check: () => validation.validateActualLRPsByProcessGuids({ processGuids: [""] }), says: [] },
    {
      call: "groups",
      check: () => validation.validateActualLRPGroupsByProcessGuid({ processGuid: "" }),
      says: fields("process_guid"),
    },
    {
      call: "group",
      check: () => validation.validateActualLRPGroupByProcessGuidAndIndex({ processGuid: "", index: -1 }),
      says: fields("process_guid", "index"),
    },
    {
      call: "group",
      check: () => validation.validateActualLRPGroupByProcessGuidAndIndex({ processGuid: "p", index: 0 }),
      says: [],
    },
    {
      call: "a start whose names do not fit",
      check: () =>
        validation.validateStartActualLRP({
          ...ofRunning,
          actualLrpKey: { processGuid: "p".repeat(256), index: 0, domain: "d".repeat(256) },
          actualLrpInstanceKey: { instanceGuid: "i".repeat(256), cellId: "c".repeat(256) },
          availabilityZone: "z".repeat(256),
        }),
      says: fields(
        ...["process_guid", "domain", "cell_id", "instance_guid", "availability_zone"].map(
          (name) => `${name}: longer than 255 characters`,
        ),
      ),
    },
  ])("$call answers $says", ({ check, says }) => {
    expect(refusal(check)).toEqual(says);
  });
});

describe("upserting a domain", () => {
  it.each([
    { domain: "", says: fields("domain") },
    { domain: "d".repeat(256), says: fields("domain: longer than 255 characters") },
    { domain: "cf-apps, or anything", says: [] },
  ])("answers $says", ({ domain, says }) => {
    expect(refusal(() => validation.validateUpsertDomain({ domain, ttl: 0 }))).toEqual(says);
  });
});
