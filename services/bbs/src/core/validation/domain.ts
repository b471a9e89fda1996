// Requests about domains (bbs-semantics.md 2.1).
import type { UpsertDomainRequest } from "@muster/proto/models/domain";
import { checkFilled } from "./actions.js";
import { validate } from "./faults.js";
import { checkLength } from "./limits.js";

/** @throws BbsError InvalidRequest */
export const validateUpsertDomain = (request: UpsertDomainRequest): void =>
  validate((faults) => {
    checkFilled(faults, { domain: request.domain });
    checkLength(faults, "domain", request.domain);
  });
