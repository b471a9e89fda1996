// The states of one index that the tables start from, and the calls on it.
import type { Message } from "../../../support/diego-codec.js";
import type { Call, Given } from "../entry.js";
import { cellOf, type Letter, type Stage } from "../stage.js";

const given = (name: string, reach: (stage: Stage) => Promise<unknown>): Given => ({
  name,
  reach: async (stage) => void (await reach(stage)),
});

/** The steps one after the other. */
export const steps =
  (...all: readonly ((stage: Stage) => Promise<unknown>)[]) =>
  async (stage: Stage): Promise<void> => {
    for (const step of all) await step(stage);
  };

const wanted = (stage: Stage) => stage.desire();
const claimed = (letter: Letter) => (stage: Stage) => stage.claim(letter);
const running = (letter: Letter) => (stage: Stage) => stage.start(letter);
const crash = (letter: Letter) => (stage: Stage) => stage.crash(letter);
const retired = (stage: Stage) => stage.retire();
const lost = (stage: Stage) => stage.cellLost();
const evacuated = (letter: Letter) => (stage: Stage) =>
  stage.ok(cellOf[letter], "EvacuateRunningActualLRP", stage.started(letter));
export const scaledTo = (instances: number) => (stage: Stage) => stage.update({ instances });
const crashedOnce = (letter: Letter) => steps(claimed(letter), crash(letter));

export const nothing = given("nothing desired, nobody vouches", async () => undefined);
export const nothingFresh = given("nothing desired, domain fresh", (stage) => stage.vouch());
/** A stop-marked row that its cell has removed is gone for good (rule S2). */
export const noRow = given(
  "wanted, no row",
  steps(wanted, claimed("a"), retired, (stage) => stage.remove("a")),
);
export const unclaimed = given("UNCLAIMED", wanted);
export const placementFailed = given(
  "UNCLAIMED, placement failed",
  steps(wanted, (stage) =>
    stage.ok("auctioneer", "FailActualLRP", { actual_lrp_key: stage.key(), error_message: "insufficient resources: memory" }),
  ),
);
export const claimedA = given("CLAIMED a", steps(wanted, claimed("a")));
export const runningA = given("RUNNING a", steps(wanted, running("a")));
export const crashedTwice = given("CLAIMED c, crashed twice", steps(wanted, crashedOnce("a"), crashedOnce("b"), claimed("c")));
export const crashed = given("CRASHED", steps(wanted, crashedOnce("a"), crashedOnce("b"), crashedOnce("c")));

export const unwantedRunning = given("RUNNING a, not desired", running("a"));
export const retiredClaimed = given("CLAIMED a, stop-marked, wanted", steps(wanted, claimed("a"), retired));
export const retiredRunning = given("RUNNING a, stop-marked, wanted", steps(wanted, running("a"), retired));
export const surplusClaimed = given("CLAIMED a, stop-marked, not wanted", steps(wanted, claimed("a"), scaledTo(0)));
export const surplusRunning = given("RUNNING a, stop-marked, not wanted", steps(wanted, running("a"), scaledTo(0)));

export const suspect = given("SUSPECT RUNNING a, UNCLAIMED", steps(wanted, running("a"), lost));
export const suspectClaimed = given("SUSPECT CLAIMED a, UNCLAIMED", steps(wanted, claimed("a"), lost));
export const suspectAndClaimed = given("SUSPECT RUNNING a, CLAIMED b", steps(wanted, running("a"), lost, claimed("b")));
export const suspectMarked = given("SUSPECT RUNNING a stop-marked, UNCLAIMED", steps(wanted, running("a"), retired, lost));

export const evacuating = given("EVACUATING RUNNING a, UNCLAIMED", steps(wanted, running("a"), evacuated("a")));
export const evacuatingAndClaimed = given(
  "EVACUATING RUNNING a, CLAIMED b",
  steps(wanted, running("a"), evacuated("a"), claimed("b")),
);
export const evacuatingAndRunning = (name: string, start: (stage: Stage) => Promise<unknown>): Given =>
  given(name, steps(wanted, running("a"), evacuated("a"), start));

// --- calls

const ofInstance = (name: string, letter: Letter, route: string, body: (stage: Stage) => Message): Call => ({
  name,
  make: (stage) => stage.call(cellOf[letter], route, body(stage)),
});

const keysOf = (stage: Stage, letter: Letter): Message => ({
  actual_lrp_key: stage.key(),
  actual_lrp_instance_key: stage.instance(letter),
});

export const claim = (letter: Letter): Call =>
  ofInstance(`claim ${letter}`, letter, "ClaimActualLRP", (stage) => ({
    process_guid: stage.guid,
    actual_lrp_instance_key: stage.instance(letter),
  }));

export const start = (letter: Letter, what = "", fields: (stage: Stage) => Message = () => ({})): Call =>
  ofInstance(`start ${letter}${what}`, letter, "StartActualLRP", (stage) => stage.started(letter, fields(stage)));

export const crashCall = (letter: Letter, reason = "exit status 1"): Call =>
  ofInstance(`crash ${letter}`, letter, "CrashActualLRP", (stage) => ({ ...keysOf(stage, letter), error_message: reason }));

export const remove = (letter: Letter): Call =>
  ofInstance(`remove ${letter}`, letter, "RemoveActualLRP", (stage) => ({
    process_guid: stage.guid,
    actual_lrp_instance_key: stage.instance(letter),
  }));

export const fail = (message = "insufficient resources: disk"): Call => ({
  name: "fail the placement",
  make: (stage) => stage.call("auctioneer", "FailActualLRP", { actual_lrp_key: stage.key(), error_message: message }),
});

export const retire: Call = {
  name: "retire",
  make: (stage) => stage.call("controller", "RetireActualLRP", { actual_lrp_key: stage.key() }),
};

export const evacuate = (kind: "Claimed" | "Stopped" | "Running", letter: Letter, what = "", fields: Message = {}): Call =>
  ofInstance(`evacuate ${letter} ${kind.toLowerCase()}${what}`, letter, `Evacuate${kind}ActualLRP`, (stage) =>
    kind === "Running" ? stage.started(letter, fields) : keysOf(stage, letter),
  );

export const evacuateCrashed = (letter: Letter): Call =>
  ofInstance(`evacuate ${letter} crashed`, letter, "EvacuateCrashedActualLRP", (stage) => ({
    ...keysOf(stage, letter),
    error_message: "exit status 1",
  }));

export const removeEvacuating = (letter: Letter): Call =>
  ofInstance(`remove evacuating ${letter}`, letter, "RemoveEvacuatingActualLRP", (stage) => keysOf(stage, letter));
