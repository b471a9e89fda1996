// Two plans differ by what one alone found, or found for another time.
import { asEpochMs, asProcessGuid } from "@muster/shared/model";
import { type Findings, instanceRepair, namedRepair } from "@muster/shared/rules";
import { expect, it } from "vitest";
import { differenceOf } from "./difference.js";

const missing = (index: number) => instanceRepair("missing", asProcessGuid("p"), index);
const restart = instanceRepair("restart", asProcessGuid("p"), 0);
const old = namedRepair("domain-expired", "old");
const findings = (found: Partial<Findings>): Findings => ({ repairs: [], due: [], nextDueMs: undefined, ...found });
const due = (repair = restart, dueAtMs = 5) => ({ repair, dueAtMs: asEpochMs(dueAtMs) });

it.each([
  { what: "nothing", kept: {}, whole: {}, difference: undefined },
  {
    what: "the same in another order",
    kept: { repairs: [missing(0), missing(1)], due: [due(), due(old)] },
    whole: { repairs: [missing(1), missing(0)], due: [due(old), due()] },
    difference: undefined,
  },
  {
    what: "one repair more and one less",
    kept: { repairs: [missing(0)] },
    whole: { repairs: [missing(1)] },
    difference: { overlooked: [missing(1)], imagined: [missing(0)] },
  },
  {
    what: "another time",
    kept: { due: [due(restart, 5)] },
    whole: { due: [due(restart, 6)] },
    difference: { overlooked: [restart], imagined: [restart] },
  },
  {
    what: "now or later",
    kept: { due: [due()] },
    whole: { repairs: [restart] },
    difference: { overlooked: [restart], imagined: [restart] },
  },
])("$what", ({ kept, whole, difference }) => {
  expect(differenceOf(findings(kept), findings(whole))).toEqual(difference);
});
