// The lock holder's two calls over gRPC.
import { type LocketClient, TypeCode } from "@muster/proto/models/locket";
import type { LocketIO } from "@muster/shared/locket-lock";
import { unary } from "@muster/shared/rpc";

export const locketIO = (client: LocketClient): LocketIO => ({
  lock: async ({ key, owner, value, ttlMs }, signal) => {
    const resource = { key, owner, value, type: "lock", typeCode: TypeCode.LOCK };
    const request = { resource, ttlInSeconds: BigInt(Math.ceil(ttlMs / 1_000)) };
    await unary(client.lock.bind(client), request, { signal, deadlineMs: ttlMs });
  },
  release: async ({ key, owner }, signal) => {
    const resource = { key, owner, value: "", type: "lock", typeCode: TypeCode.LOCK };
    await unary(client.release.bind(client), { resource }, { signal });
  },
});
