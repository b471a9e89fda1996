// An orderly end of the real program under load, and what it says of itself to those who ask by gRPC health.

import { Agent, request } from "node:https";
import { Client } from "@grpc/grpc-js";
import { DesiredLRPLifecycleResponse, DesireLRPRequest } from "@muster/proto/models/desired_lrp_requests";
import { dial, unary } from "@muster/shared/rpc";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  type BbsClients,
  type BbsProcess,
  clientsOf,
  etcdHome,
  lmdbHome,
  type StoreHome,
  spawnBbs,
  startBbs,
  tlsOf,
} from "../../support/bbs.js";
import { type EtcdCluster, startEtcd } from "../../support/etcd.js";
import { freePort } from "../../support/ports.js";
import { desired, eventually, refusal } from "../bbs/fixtures.js";
import { contentsOf } from "./records.js";

let etcd: EtcdCluster;
beforeAll(async () => {
  etcd = await startEtcd();
});
afterAll(() => etcd[Symbol.asyncDispose]());

/** Desires one after the other until it is refused, each call with a deadline that an unanswered one would run into. */
async function desireUntilRefused({ bbs }: BbsClients, name: string, acknowledged: string[]): Promise<string | undefined> {
  for (let number = 0; ; number += 1) {
    const desiredLrp = desired(`${name}-${number}`);
    const call = unary(bbs.desireDesiredLrp.bind(bbs), { desiredLrp }, { deadlineMs: 15_000 });
    const failed = await call.then(
      () => undefined,
      () => refusal(call),
    );
    if (failed !== undefined) return failed.status;
    acknowledged.push(desiredLrp.processGuid);
  }
}

describe("SIGTERM under load", () => {
  it.each(["lmdb", "etcd"])(
    "on %s: every call is answered, nothing acknowledged is lost, the leadership is given back",
    async (store) => {
      await using home: StoreHome = store === "lmdb" ? await lmdbHome() : await etcdHome(etcd);
      const acknowledged: string[] = [];
      {
        // With a TTL of a minute, a successor that serves at once shows that the leadership was given back.
        await using bbs = await spawnBbs(home, { leadershipTtlMs: 60_000 });
        await bbs.until("active");
        const clients = await Promise.all(Array.from({ length: 16 }, () => clientsOf([bbs.address], "operator")));
        const loops = clients.flatMap((client, at) =>
          [0, 1, 2].map((loop) => desireUntilRefused(client, `l-${at}-${loop}`, acknowledged)),
        );
        await eventually("all of them write", () => (acknowledged.length > 500 ? true : undefined), 30_000);
        bbs.kill("SIGTERM");
        expect(new Set(await Promise.all(loops))).toEqual(new Set(["UNAVAILABLE"]));
        expect(await bbs.exited).toBe(0);
        expect(bbs.log()).not.toContain('"level":50');
        for (const client of clients) client[Symbol.dispose]();
      }
      const { records } = await contentsOf(home);
      expect(acknowledged.filter((guid) => !records.has(`desired/${guid}`))).toEqual([]);
      await using next = await spawnBbs(home, { leadershipTtlMs: 60_000 });
      await next.until("active", 15_000);
    },
  );

  it("over HTTP: what is being answered is answered, nothing acknowledged is lost", async () => {
    await using home = await lmdbHome();
    const port = await freePort();
    const acknowledged: string[] = [];
    {
      await using bbs = await spawnBbs(home, { settings: { http_address: `127.0.0.1:${port}` } });
      await bbs.until("active");
      const { ca, cert, key } = await tlsOf("operator");
      const agent = new Agent({ keepAlive: true, maxSockets: 12, ca, cert, key, checkServerIdentity: () => undefined });
      const call = (guid: string): Promise<Buffer> =>
        new Promise((resolve, reject) => {
          const options = { host: "127.0.0.1", port, path: "/v1/desired_lrp/desire.r2", method: "POST", agent };
          const asked = request(options, (response) => {
            const chunks: Buffer[] = [];
            response.on("data", (chunk: Buffer) => chunks.push(chunk));
            response.on("end", () => resolve(Buffer.concat(chunks)));
            response.on("error", () => reject(new Error("cut in the middle of an answer")));
          });
          asked.on("error", reject);
          asked.end(DesireLRPRequest.encode({ desiredLrp: desired(guid) }).finish());
        });
      const loop = async (name: string): Promise<string> => {
        for (let number = 0; ; number += 1) {
          const answer = await call(`${name}-${number}`).catch((error: Error) => error);
          if (answer instanceof Error) return answer.message;
          const { error } = DesiredLRPLifecycleResponse.decode(answer);
          if (error !== undefined) return error.message;
          acknowledged.push(`${name}-${number}`);
        }
      };
      const loops = Array.from({ length: 12 }, (_, at) => loop(`h-${at}`));
      await eventually("all of them write", () => (acknowledged.length > 200 ? true : undefined), 30_000);
      bbs.kill("SIGTERM");
      expect(await Promise.all(loops)).not.toContain("cut in the middle of an answer");
      expect(await bbs.exited).toBe(0);
      agent.destroy();
    }
    const { records } = await contentsOf(home);
    expect(acknowledged.filter((guid) => !records.has(`desired/${guid}`))).toEqual([]);
  });

  it("before it serves: a program that waits for the leadership ends in order too", async () => {
    await using home = await etcdHome(etcd);
    await using _leader = await startBbs(home, { leadershipTtlMs: 10_000 });
    await using standby = await spawnBbs(home);
    await standby.until("standby");
    standby.kill("SIGTERM");
    expect(await standby.exited).toBe(0);
  });
});

describe("gRPC health of a BBS", () => {
  const same = (bytes: Buffer): Buffer => bytes;
  async function health(bbs: Pick<BbsProcess, "address">, role: string): Promise<string> {
    const client = dial(Client, [bbs.address], await tlsOf(role));
    try {
      return await new Promise((resolve, reject) => {
        client.makeUnaryRequest("/grpc.health.v1.Health/Check", same, same, Buffer.alloc(0), (error, answer?: Buffer) =>
          error === null ? resolve(["", "SERVING", "NOT_SERVING"][answer?.[1] ?? 0] ?? "") : reject(error),
        );
      });
    } finally {
      client.close();
    }
  }

  it("is SERVING while it takes writes, NOT_SERVING while the store does not answer", async () => {
    await using home = await etcdHome(etcd);
    await using bbs = await spawnBbs(home, { leadershipTtlMs: 60_000 });
    await bbs.until("active");
    expect(await health(bbs, "cell:cell-1")).toBe("SERVING");
    using operator = await clientsOf([bbs.address], "operator");
    home.faults.hang();
    try {
      const stuck = refusal(
        unary(operator.bbs.desireDesiredLrp.bind(operator.bbs), { desiredLrp: desired("x") }, { deadlineMs: 10_000 }),
      );
      await eventually("it says so", async () => ((await health(bbs, "converger")) === "NOT_SERVING" ? true : undefined));
      expect((await stuck).status).toBe("UNAVAILABLE");
    } finally {
      home.faults.goOn();
    }
    await eventually("it takes writes again", async () => ((await health(bbs, "operator")) === "SERVING" ? true : undefined));
  });
});
