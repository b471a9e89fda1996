// The runner's world over gRPC: the BBS, the cells, and the two calls that hold the lock.
import { LocketClient, TypeCode } from "@muster/proto/models/locket";
import { BBSServiceClient } from "@muster/proto/muster/v1/bbs";
import { RepServiceClient } from "@muster/proto/muster/v1/rep";
import { WatchServiceClient } from "@muster/proto/muster/v1/watch";
import { actualLRPKeyToWire } from "@muster/shared/codec";
import type { LocketIO } from "@muster/shared/locket-lock";
import { dial, serverStream, unary } from "@muster/shared/rpc";
import type { TlsMaterial } from "@muster/shared/tls";
import type { AuctioneerIO, CellIO } from "./runner/index.js";

/** A call about a failure ends within this; the failure is told again with the next try. */
const failureCallMs = 5_000;

/** Rule P4: what was judged travels beside Diego's messages, which have no field for it. */
const judged = (id: string) => ({ "muster-auction-id": id });

export function grpcIO(bbsAddresses: readonly string[], tls: TlsMaterial): AuctioneerIO {
  const bbs = dial(BBSServiceClient, bbsAddresses, tls, "bbs");
  const watch = dial(WatchServiceClient, bbsAddresses, tls, "bbs");
  return {
    watch: (request, signal) => serverStream(watch.watch.bind(watch), request, { signal }),
    cell: (cellId, address) => cellIO(cellId, address, tls),
    failActualLRP: async ({ key, judgedTag, error }, signal) => {
      const request = { actualLrpKey: actualLRPKeyToWire(key), errorMessage: error };
      await unary(bbs.failActualLrp.bind(bbs), request, { signal, deadlineMs: failureCallMs, metadata: judged(judgedTag) });
    },
    rejectTask: async ({ taskGuid, judgedSequence, reason }, signal) => {
      const request = { taskGuid, rejectionReason: reason };
      await unary(bbs.rejectTask.bind(bbs), request, { signal, deadlineMs: failureCallMs, metadata: judged(judgedSequence) });
    },
  };
}

/** The presence says where the cell is, its certificate that it is this cell. */
function cellIO(cellId: string, address: string, tls: TlsMaterial): CellIO {
  const rep = dial(RepServiceClient, [address], tls, `cell:${cellId}`);
  return {
    state: (signal) => serverStream(rep.state.bind(rep), {}, { signal }),
    perform: (request, deadlineMs, signal) => unary(rep.perform.bind(rep), request, { signal, deadlineMs }),
    close: () => rep.close(),
  };
}

export function locketIO(bbsAddresses: readonly string[], tls: TlsMaterial): LocketIO {
  const locket = dial(LocketClient, bbsAddresses, tls, "bbs");
  const resourceOf = (key: string, owner: string, value: string) => ({
    key,
    owner,
    value,
    type: "lock",
    typeCode: TypeCode.LOCK,
  });
  return {
    lock: async ({ key, owner, value, ttlMs }, signal) => {
      const request = { resource: resourceOf(key, owner, value), ttlInSeconds: BigInt(Math.ceil(ttlMs / 1_000)) };
      await unary(locket.lock.bind(locket), request, { signal, deadlineMs: ttlMs });
    },
    release: async ({ key, owner }, signal) => {
      await unary(locket.release.bind(locket), { resource: resourceOf(key, owner, "") }, { signal });
    },
  };
}
