// When a platform is ready.
import { describe, expect, it } from "vitest";
import type { ServiceRecord } from "./services-file.js";
import { judgeStatus, type Presence } from "./status.js";

const record = (name: string, role: ServiceRecord["role"]): ServiceRecord => ({
  name,
  role,
  pid: 1,
  address: "127.0.0.1:1",
  metrics_address: "127.0.0.1:2",
});
const records = [
  record("bbs-1", "bbs"),
  record("auctioneer-1", "auctioneer"),
  record("converger-1", "converger"),
  record("cell-1", "rep"),
];
const presence: Presence = { lockValues: [], cells: new Map([["cell-1", "127.0.0.1:1"]]) };
const well = [
  { ok: true, state: "active" },
  { ok: true, state: "active" },
  { ok: true, state: "active" },
  { ok: true, state: "healthy" },
];
const changed = (n: number, health: { ok: boolean; state: string } | undefined) =>
  well.map((each, at) => (at === n ? health : each));

describe("a platform", () => {
  it("is ready when all are well, led and present", () => {
    const status = judgeStatus(records, well, presence);
    expect(status.ready).toBe(true);
    expect(status.services.every((service) => service.active && service.healthy)).toBe(true);
  });

  it.each([
    ["no BBS answers", well, undefined],
    ["the only BBS stands by", changed(0, { ok: true, state: "standby" }), presence],
    ["nobody holds the auctioneer's lock", changed(1, { ok: true, state: "standby" }), presence],
    ["a service does not answer", changed(2, undefined), presence],
    ["a cell is unwell", changed(3, { ok: false, state: "unhealthy" }), presence],
    ["a cell is not present", well, { ...presence, cells: new Map<string, string>() }],
  ] as const)("is not ready while %s", (_, healths, seen) => {
    expect(judgeStatus(records, healths, seen).ready).toBe(false);
  });

  it("is ready with a standby beside the active one", () => {
    const two = [...records, record("bbs-2", "bbs")];
    expect(judgeStatus(two, [...well, { ok: true, state: "standby" }], presence)).toMatchObject({ ready: true });
  });
});
