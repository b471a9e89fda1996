// Diego's EvacuationResponse has the error and `keep_container` side by side, so a refusal of the core is an answer here, not a failure:
// in-band on gRPC as over HTTP.
import type { EvacuationResponse } from "@muster/proto/models/evacuation";
import { BbsError, diegoTypeOf } from "@muster/shared/errors";
import type { EvacuationReply } from "../core/evacuation.js";

/** Whether a cell keeps its container when its request about it cannot even be understood (bbs-semantics.md 5). */
export const keepWhenUnreadable = {
  EvacuateClaimedActualLRP: true,
  EvacuateRunningActualLRP: true,
  EvacuateCrashedActualLRP: false,
  EvacuateStoppedActualLRP: false,
} as const;

const answer = ({ keepContainer, refusal }: EvacuationReply): EvacuationResponse => ({
  error: refusal === undefined ? undefined : { type: diegoTypeOf(refusal.code), message: refusal.message },
  keepContainer,
});

/** Validates and decides; an invalid request is answered with what its call keeps then. What nobody decided (the store is away) is thrown. */
export async function evacuationAnswer(
  call: keyof typeof keepWhenUnreadable,
  validate: () => void,
  decide: () => Promise<EvacuationReply>,
): Promise<EvacuationResponse> {
  try {
    validate();
  } catch (error) {
    if (error instanceof BbsError) return answer({ keepContainer: keepWhenUnreadable[call], refusal: error });
    throw error;
  }
  return answer(await decide());
}
