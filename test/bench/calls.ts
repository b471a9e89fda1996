// The unary calls that the benches of the BBS make.
import { type ServiceError, status } from "@grpc/grpc-js";
import type { ClaimActualLRPRequest } from "@muster/proto/models/actual_lrp_requests";
import type { BbsClients } from "../support/bbs.js";
import type { Call } from "./load.js";
import { cellOf, desired, guidOf, netInfo } from "./messages.js";

const of = (clients: readonly BbsClients[], n: number): BbsClients => {
  const one = clients[n % clients.length];
  if (one === undefined) throw new Error("no clients");
  return one;
};

/** On a busy machine the store may stall for a second: the call is made again, and its latency is all of the time. */
export const patient =
  (call: Call, onRetry: () => void = () => undefined): Call =>
  (n, done) => {
    let tries = 1;
    const attempt = (): void =>
      call(n, (error) => {
        const code = (error as Partial<ServiceError> | null)?.code;
        if (code === status.ALREADY_EXISTS && tries > 1) done(null);
        else if (code !== status.UNAVAILABLE || tries > 100) done(error);
        else {
          tries += 1;
          onRetry();
          setTimeout(attempt, 50);
        }
      });
    attempt();
  };

/** Desires instances, one unless more are wanted, under the n-th guid of this kind. */
export const desireCall = (clients: readonly BbsClients[], kind: string, instances = 1, onRetry?: () => void): Call =>
  patient((n, done) => of(clients, n).bbs.desireDesiredLrp({ desiredLrp: desired(guidOf(kind, n), instances) }, done), onRetry);

const instanceOf = (n: number, cells: number) => ({ instanceGuid: guidOf("instance", n), cellId: cellOf(n, cells) });

export const claimRequest = (kind: string, n: number, cells: number): ClaimActualLRPRequest => ({
  processGuid: guidOf(kind, n),
  index: 0,
  actualLrpInstanceKey: instanceOf(n, cells),
});

/** Claims what `desireCall` desired. */
export const claimCall = (cells: readonly BbsClients[], kind: string): Call =>
  patient((n, done) => of(cells, n).bbs.claimActualLrp(claimRequest(kind, n, cells.length), done));

/** Starts what `claimCall` claimed. */
export const startCall = (cells: readonly BbsClients[], kind: string): Call =>
  patient((n, done) =>
    of(cells, n).bbs.startActualLrp(
      {
        actualLrpKey: { processGuid: guidOf(kind, n), index: 0, domain: "bench" },
        actualLrpInstanceKey: instanceOf(n, cells.length),
        actualLrpNetInfo: netInfo,
        actualLrpInternalRoutes: [],
        metricTags: {},
        optionalRoutable: { $case: "Routable", value: true },
        availabilityZone: "z1",
      },
      done,
    ),
  );
