// Campaigning: one key for each name, created under a lease; whoever creates it leads. Waiting is polling, which never goes silent.
import type { Clock } from "@muster/shared/clock";
import { OperatorError } from "@muster/shared/errors";
import type { Log } from "@muster/shared/log";
import type { EtcdClient } from "./client.js";
import { certificateFault, needsOperator, refusalOf } from "./errors.js";
import { claimRequest, type EtcdKeys, firstOf } from "./requests.js";
import { EtcdTerm } from "./term.js";

export interface Candidacy {
  readonly name: string;
  readonly value: string;
  readonly ttlMs: number;
}

export interface ElectionTools {
  readonly client: EtcdClient;
  readonly keys: EtcdKeys;
  readonly clock: Clock;
  readonly log: Log;
}

/**
 * Resolves once elected; waits for as long as the key is held or etcd does not answer.
 * @throws the signal's reason; OperatorError when etcd does not accept who we are.
 */
export async function campaign(tools: ElectionTools, candidacy: Candidacy, signal: AbortSignal): Promise<EtcdTerm> {
  const { clock, log } = tools;
  const pollMs = Math.min(500, Math.max(50, candidacy.ttlMs / 20));
  let holder: string | undefined;
  /** In a row: one member's bad certificate is no reason to end while others may be well. */
  let badCertificates = 0;
  for (let attempt = 1; ; attempt += 1) {
    signal.throwIfAborted();
    let pauseMs = pollMs;
    try {
      const seen = await readHolder(tools, candidacy.name, signal);
      if (seen === undefined) {
        const term = await claim(tools, candidacy);
        if (term !== undefined) return await unlessCalledOff(term, signal);
      } else if (seen !== holder) log.info({ step: "campaign", holder: seen }, "leadership is held by another");
      holder = seen;
    } catch (err) {
      signal.throwIfAborted();
      if (needsOperator(err)) throw new OperatorError("etcd does not accept this client", operatorHint, err);
      badCertificates = certificateFault(err) === undefined ? 0 : badCertificates + 1;
      if (badCertificates >= tools.client.endpoints) throw certificateError(err);
      pauseMs = Math.min(1_000, pollMs * attempt);
      const full = refusalOf(err) === "no-space";
      log.warn({ err, step: "campaign", attempt, retry_ms: pauseMs }, full ? nobodyElected : "etcd did not answer");
    }
    await clock.sleep(pauseMs, signal);
  }
}

const operatorHint =
  "check user, password and role in the store's settings, and that etcd has authentication switched on if they are set";

const nobodyElected = "etcd takes no writes for want of space: nobody can be elected until a person has made room";

const certificateHints = {
  ours: "etcd refuses the certificate we show: check cert_file and key_file in the store's settings, and its last day",
  theirs: "check that ca_file in the store's settings is the authority of etcd's certificate, and that one's names and last day",
} as const;

function certificateError(cause: unknown): OperatorError {
  const { whose = "theirs", words = "" } = certificateFault(cause) ?? {};
  const what = whose === "ours" ? "etcd does not take our certificate" : "etcd's certificate is not to be trusted";
  return new OperatorError(`${what} (${words})`, certificateHints[whose], cause);
}

async function readHolder(tools: ElectionTools, name: string, signal: AbortSignal): Promise<string | undefined> {
  const { client, keys } = tools;
  const range = await client.ask((options) => client.kv.range({ key: keys.leader(name) }, options), signal);
  return range.kvs[0]?.value.toString();
}

/** One try to create the key. `undefined` when somebody was faster. */
async function claim(tools: ElectionTools, candidacy: Candidacy): Promise<EtcdTerm | undefined> {
  const { client, keys, clock, log } = tools;
  const { name, value, ttlMs } = candidacy;
  const key = keys.leader(name);
  const grantedAtMs = clock.elapsedMs();
  const ttlSeconds = Math.ceil(ttlMs / 1_000);
  const { ID: lease } = await client.once((options) => client.lease.leaseGrant({ TTL: ttlSeconds }, options));
  try {
    const answer = await client.once((options) => client.kv.txn(claimRequest(key, value, lease), options));
    const createRevision = answer.succeeded ? answer.header.revision : ownRevision(firstOf(answer, 0), lease);
    if (createRevision !== undefined) {
      return new EtcdTerm({ name, key, createRevision, lease, ttlMs, grantedAtMs }, client, clock, log);
    }
  } catch (error) {
    // It may have been created all the same: without its lease it goes.
    await revoke(tools, lease);
    throw error;
  }
  await revoke(tools, lease);
  return undefined;
}

/** The key may be ours already, when the connection layer sent the claim twice. */
const ownRevision = (kv: { create_revision: string; lease: string } | undefined, lease: string): string | undefined =>
  kv?.lease === lease ? kv.create_revision : undefined;

async function revoke({ client, log }: ElectionTools, lease: string): Promise<void> {
  try {
    await client.once((options) => client.lease.leaseRevoke({ ID: lease }, options), 1_000);
  } catch (err) {
    log.debug({ err, step: "revoke" }, "etcd lease was not revoked");
  }
}

async function unlessCalledOff(term: EtcdTerm, signal: AbortSignal): Promise<EtcdTerm> {
  if (!signal.aborted) return term;
  await term.resign();
  throw signal.reason;
}
