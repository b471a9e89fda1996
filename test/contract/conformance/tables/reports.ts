// A cell that is back, and an evacuation taken back: Muster's own session with a cell, and what Diego's streams say of it
// (bbs-semantics.md section 6; races.md C5, E3). One after the other: they share one cell, and its presence comes and goes.
import { ContainerState } from "@muster/proto/muster/v1/report";
import type { Reply } from "../../../support/diego-client.js";
import { Rep } from "../../bbs/fixtures.js";
import type { Call, Entry, Given } from "../entry.js";
import type { Stage } from "../stage.js";
import { notFound } from "../texts.js";
import { scaledTo, steps } from "./givens.js";

const cell = "cell-9";
/** Long enough for any hold-back after losses of cells (C3). */
const calm = (stage: Stage) => stage.leap(300_000);
const wanted = (stage: Stage) => stage.desire();
const evacuated = (stage: Stage) => stage.ok(cell, "EvacuateRunningActualLRP", stage.started("r"));

const given = (name: string, ...reach: readonly ((stage: Stage) => Promise<unknown>)[]): Given => ({
  name,
  reach: steps(calm, wanted, (stage) => stage.start("r"), ...reach),
});
const lost = (stage: Stage) => stage.cellLost();
const suspect = given("SUSPECT RUNNING r, UNCLAIMED", lost);
const suspectAndClaimed = given("SUSPECT RUNNING r, CLAIMED b", lost, (stage) => stage.claim("b"));
const suspectMarked = given("SUSPECT RUNNING r stop-marked", scaledTo(0), lost);
const evacuating = given("EVACUATING RUNNING r, UNCLAIMED", evacuated);
const evacuatingAndClaimed = given("EVACUATING RUNNING r, CLAIMED b", evacuated, (stage) => stage.claim("b"));
const evacuatingSurplus = given("EVACUATING RUNNING r, scaled to 0", evacuated, scaledTo(0));
const replaced = given("RUNNING b in place of r", evacuated, (stage) => stage.start("b"));

const keyOf = (stage: Stage) => ({ processGuid: stage.guid, index: 0, domain: stage.domain });
const instanceKey = { instanceGuid: "r", cellId: cell };
const netInfo = { address: "10.0.0.1", ports: [], instanceAddress: "", preferredAddress: 0 as const, instanceIpv6Address: "" };

/** Opens the cell's session, shows what it holds, does what it has to say, and takes its leave. */
async function session(stage: Stage, holdsIt: boolean, say: (rep: Rep) => Promise<Reply>): Promise<Reply> {
  using rep = new Rep(stage.world.own[cell], cell);
  rep.hello(30_000);
  await rep.next("welcome");
  const container = {
    actualLrpKey: keyOf(stage),
    actualLrpInstanceKey: instanceKey,
    state: ContainerState.CONTAINER_STATE_RUNNING,
    actualLrpNetInfo: netInfo,
    routable: true,
    taskGuid: "",
    actualLrpInternalRoutes: [],
    metricTags: {},
  };
  rep.send({ $case: "inventory", value: { containers: holdsIt ? [container] : [], last: true } });
  await rep.next("inventoryDecided");
  const reply = await say(rep);
  rep.send({ $case: "goodbye", value: {} });
  await rep.ended;
  return reply;
}

const nothing: Reply = { error: undefined, message: {} };
const back: Call = { name: "the cell is back with r", make: (stage) => session(stage, true, async () => nothing) };
const backWithout: Call = { name: "the cell is back without r", make: (stage) => session(stage, false, async () => nothing) };
const cancel: Call = {
  name: "take the evacuation back",
  make: (stage) =>
    session(stage, true, async (rep) => {
      const item = { actualLrpKey: keyOf(stage), actualLrpInstanceKey: instanceKey };
      const [reply] = await rep.report({ ...item, report: { $case: "cancelEvacuation", value: {} } });
      const { errorType = "", errorMessage = "", keepContainer = false } = reply ?? {};
      const error = errorType === "" ? undefined : { type: errorType, message: errorMessage };
      return { error, message: { keep_container: keepContainer } };
    }),
};

export const reports: readonly Entry[] = [
  {
    given: suspect,
    call: back,
    reply: "ok",
    rows: ["RUNNING r +0"],
    instance: ["changed r: SUSPECT RUNNING → RUNNING", "removed UNCLAIMED"],
    group: ["removed instance UNCLAIMED"],
  },
  {
    given: suspectAndClaimed,
    call: back,
    reply: "ok",
    rows: ["RUNNING r +0"],
    instance: ["changed r: SUSPECT RUNNING → RUNNING", "removed CLAIMED b"],
    group: ["removed instance CLAIMED b"],
  },
  {
    given: suspect,
    call: backWithout,
    reply: "ok",
    rows: ["UNCLAIMED +0"],
    instance: ["removed SUSPECT RUNNING r"],
    group: ["changed instance SUSPECT RUNNING r → instance UNCLAIMED"],
  },
  // A marked one is never promoted: its cell stops it first.
  { given: suspectMarked, call: back, reply: "ok", rows: ["SUSPECT RUNNING r +0"], instance: [], group: [] },
  { given: suspectMarked, call: backWithout, reply: "ok", rows: [], instance: ["removed SUSPECT RUNNING r"] },

  {
    given: evacuating,
    call: cancel,
    reply: "ok keep_container",
    rows: ["RUNNING r +0"],
    instance: ["changed r: EVACUATING RUNNING → RUNNING", "removed UNCLAIMED"],
  },
  {
    given: evacuatingAndClaimed,
    call: cancel,
    reply: "ok keep_container",
    rows: ["RUNNING r +0"],
    instance: ["changed r: EVACUATING RUNNING → RUNNING", "removed CLAIMED b"],
  },
  { given: evacuatingSurplus, call: cancel, reply: "ok", rows: [], instance: ["removed EVACUATING RUNNING r"] },
  { given: replaced, call: cancel, reply: `${notFound} keep`, rows: ["RUNNING b +0"], instance: [], group: [] },
];
