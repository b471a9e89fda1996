// Why an instance is as it is, in a sentence, and what to do about it, in another. Pure.
import { asEpochMs } from "@muster/shared/model";
import { restartAtMs } from "@muster/shared/rules";
import { appsDomain } from "../apps/annotation.js";
import type { InstanceShape } from "../apps/shapes.js";
import { crashAdvice } from "./crash.js";
import { type Answer, type Refusal, whyNoPlace } from "./placement.js";

/** What is known of the app and its surroundings. */
export interface Surroundings {
  readonly app: string;
  readonly dockerEnabled: boolean;
  /** Indices below this are wanted. */
  readonly wanted: number;
  /** Whether somebody vouches for the apps' domain: only then is anything surplus stopped. */
  readonly domainFresh: boolean;
  /** Whether an auctioneer answered; without one nothing is placed. */
  readonly auctioneer: boolean;
  /** Cells that should be there, and that nobody hears of. */
  readonly lostCells: readonly string[];
}

export interface InstanceFacts extends Surroundings {
  readonly row: InstanceShape;
  readonly refusals: readonly Refusal[];
}

export interface InstanceAnswer extends Answer {
  /** ISO time of the next try; empty where none is due. */
  readonly next_try_at: string;
}

export const enableFlag = "turn Docker apps on with `muster enable-feature-flag diego_docker`";
export const vouch = `let \`muster up\` run, which vouches for the domain ${appsDomain}; until somebody does, nothing surplus is stopped`;
const nothing = "nothing";

export function explainInstance(facts: InstanceFacts): InstanceAnswer {
  const { row, dockerEnabled, wanted, domainFresh } = facts;
  const surplus = !dockerEnabled || row.index >= wanted;
  const runs = row.state === "RUNNING" || row.state === "CLAIMED";
  if (row.presence === "EVACUATING") {
    return later({
      why: `runs on ${row.cell_id}, which is being emptied, until its replacement runs`,
      what_to_do: `nothing; \`muster evacuate ${row.cell_id} --cancel\` takes the evacuation back`,
    });
  }
  if (row.presence === "SUSPECT") {
    return later({
      why: `nobody hears of its cell ${row.cell_id}; it may still run there, and goes once a replacement runs`,
      what_to_do: `bring ${row.cell_id} back, or give it up with \`muster forget ${row.cell_id}\``,
    });
  }
  if (!dockerEnabled) {
    const state = runs ? `is being stopped on ${row.cell_id}` : "is kept down";
    return later({ why: `${state}: the feature flag diego_docker is off`, what_to_do: enableFlag });
  }
  if (surplus && !domainFresh)
    return later({ why: `is not wanted any more, and nobody vouches for the domain ${appsDomain}`, what_to_do: vouch });
  if (surplus)
    return later({
      why: runs ? `is not wanted any more, and is being stopped on ${row.cell_id}` : "is not wanted any more",
      what_to_do: nothing,
    });
  return ofState(facts);
}

function ofState(facts: InstanceFacts): InstanceAnswer {
  const { row, app } = facts;
  switch (row.state) {
    case "RUNNING":
      return later({ why: `running on ${row.cell_id} since ${row.since}`, what_to_do: nothing });
    case "CLAIMED":
      return later({
        why: `starting on ${row.cell_id} since ${row.since}: the image is fetched, or the first health check has yet to pass`,
        what_to_do: `wait; follow it with \`muster logs ${app}\``,
      });
    case "CRASHED":
      return ofCrash(facts);
    default:
      return later(ofWaiting(facts));
  }
}

function ofCrash({ row, app }: InstanceFacts): InstanceAnswer {
  const atMs = restartAtMs(row.crash_count, asEpochMs(Date.parse(row.since)));
  const nextTry = atMs === undefined ? "" : new Date(atMs).toISOString();
  const tried = nextTry === "" ? "it is not tried again by itself" : `the next try is due at ${nextTry}`;
  const restart = nextTry === "" ? `; then \`muster restart-app-instance ${app} ${row.index}\`` : "";
  return {
    why: `crashed ${row.crash_count} times, last at ${row.since}: ${row.crash_reason}; ${tried}`,
    what_to_do: `${crashAdvice(app, row.crash_reason)}${restart}`,
    next_try_at: nextTry,
  };
}

function ofWaiting({ row, app, refusals, auctioneer, lostCells }: InstanceFacts): Answer {
  if (!auctioneer) {
    return {
      why: "waits for a place, and no auctioneer answers: nothing is placed",
      what_to_do: "see `muster status` and the auctioneer's log; it is placed as soon as one is active",
    };
  }
  if (row.placement_error !== "") return whyNoPlace(row.placement_error, refusals, { kind: "app", name: app }, lostCells);
  if (row.crash_count > 0 && row.crash_reason !== "") {
    return {
      why: `waits for a place again after crash ${row.crash_count}: ${row.crash_reason}`,
      what_to_do: crashAdvice(app, row.crash_reason),
    };
  }
  return { why: "waiting for a place", what_to_do: "nothing yet: new work is placed within a second; ask again" };
}

const later = (answer: Answer): InstanceAnswer => ({ ...answer, next_try_at: "" });

/** An index that is wanted and has no row: the rule `missing` has not been carried out. */
export const missingAnswer: InstanceAnswer = later({
  why: "is wanted and has no record yet",
  what_to_do: "see `muster status`: without a converger nobody asks for it; `muster converge` does so now",
});

/** The app as a whole. `undefined`: there is nothing to say but of its instances. */
export function explainApp({
  app,
  dockerEnabled,
  wanted,
  domainFresh,
  stopped,
}: Surroundings & { readonly stopped: boolean }): Answer | undefined {
  if (!dockerEnabled)
    return { why: "the feature flag diego_docker is off: every Docker app wants 0 instances", what_to_do: enableFlag };
  if (stopped) return { why: `${app} is stopped`, what_to_do: `start it with \`muster start ${app}\`` };
  if (wanted === 0) return { why: `${app} is scaled to 0`, what_to_do: `scale it with \`muster scale ${app} -i N\`` };
  if (!domainFresh) return { why: `nobody vouches for the domain ${appsDomain}`, what_to_do: vouch };
  return undefined;
}
