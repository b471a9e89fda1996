// The fault-finder must find each kind of fault, or it guards nothing.
import { expect, it } from "vitest";
import { planAuction } from "./auction.js";
import { faultsOf } from "./faults.js";
import { cell, lrp, task } from "./testing/fixtures.js";
import type { AuctionPlan } from "./types.js";

const cells = [cell("a"), cell("b", { placementTags: ["x"] }), cell("c", { status: "evacuating" })];
const waiting = [lrp("p", 0, { memoryMb: 60 }), lrp("q", 0, { memoryMb: 30 }), task("t", { memoryMb: 50 })];
const good = planAuction(cells, waiting);
const altered = (change: Partial<AuctionPlan>): AuctionPlan => ({ ...good, ...change });
const faultNames = (plan: AuctionPlan) => faultsOf(plan, cells, waiting).map(({ fault, about }) => `${fault} ${about}`);
const [first, second] = good.placements;
const [failure] = good.failures;
if (first === undefined || second === undefined || failure === undefined) throw new Error("the fixture places two and fails one");

it("finds nothing wrong with a plan of the auction", () => expect(faultNames(good)).toEqual([]));

it.each([
  { what: "a key twice", plan: altered({ placements: [first, first, second] }), fault: "key-twice lrp/p/0" },
  {
    what: "a key both placed and failed",
    plan: altered({ failures: [failure, { ...failure, work: first.work }] }),
    fault: "key-twice lrp/p/0",
  },
  {
    what: "an overfull cell",
    plan: { placements: [first, second, { ...failure, cellId: first.cellId }], failures: [] },
    fault: "overfull-cell a",
  },
  {
    what: "an unknown cell",
    plan: altered({ placements: [first, { ...second, cellId: "nowhere" as never }] }),
    fault: "unknown-cell lrp/q/0",
  },
  {
    what: "a cell whose tags refuse",
    plan: altered({ placements: [first, { ...second, cellId: "b" as never }] }),
    fault: "unfit-cell lrp/q/0",
  },
  {
    what: "a cell that takes no work",
    plan: altered({ placements: [first, { ...second, cellId: "c" as never }] }),
    fault: "unfit-cell lrp/q/0",
  },
  { what: "work forgotten", plan: altered({ failures: [] }), fault: "unanswered task/t" },
  {
    what: "work nobody asked for",
    plan: altered({ placements: [...good.placements, { ...second, work: lrp("z", 0) }] }),
    fault: "not-waiting lrp/z/0",
  },
  {
    what: "a failure without a reason",
    plan: altered({ failures: [{ ...failure, error: "" }] }),
    fault: "silent-failure task/t",
  },
])("finds $what", ({ plan, fault }) => {
  expect(faultNames(plan)[0]).toBe(fault);
});
