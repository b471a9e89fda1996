// The service over real gRPC and mutual TLS, against a scripted BBS: standing by, working, giving the lock back, losing it.
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LocketService } from "@muster/proto/models/locket";
import { RepairServiceService } from "@muster/proto/muster/v1/repair";
import { WatchServiceService } from "@muster/proto/muster/v1/watch";
import { systemClock } from "@muster/shared/clock";
import { parseConfig } from "@muster/shared/config";
import { BbsError } from "@muster/shared/errors";
import { LostLeadershipError } from "@muster/shared/lifecycle";
import { silentLog } from "@muster/shared/log";
import { put } from "@muster/shared/model";
import { serveGrpc, streamHandler, unaryHandler } from "@muster/shared/rpc";
import { createAuthority, issueCertificate, readTls } from "@muster/shared/tls";
import { afterEach, expect, it, vi } from "vitest";
import { convergerConfig } from "./config.js";
import { runConverger } from "./service.js";
import { FakeBbs } from "./testing/fake-bbs.js";
import { desiredLRP } from "./testing/records.js";

// Processes share this machine: the bounds are for a busy one.
vi.setConfig({ testTimeout: 30_000 });

const undo: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step();
});

/** The files of the converger and of the BBS it dials, by one authority. */
async function tlsFiles() {
  const home = await mkdtemp(join(tmpdir(), "muster-converger-"));
  undo.push(() => rm(home, { recursive: true }));
  const authority = await createAuthority("test", systemClock.nowMs());
  const filesOf = async (role: string) => {
    const files = { ca_file: join(home, "ca.crt"), cert_file: join(home, `${role}.crt`), key_file: join(home, `${role}.key`) };
    const issued = await issueCertificate(authority, role, { nowMs: systemClock.nowMs() });
    await writeFile(files.ca_file, authority.certificatePem);
    await writeFile(files.cert_file, issued.certificatePem);
    await writeFile(files.key_file, issued.keyPem);
    return files;
  };
  return { tls: await filesOf("converger"), bbsTls: await filesOf("bbs") };
}

async function setUp() {
  const { tls, bbsTls } = await tlsFiles();
  const bbs = new FakeBbs(systemClock);
  const locket = { holder: "", calls: [] as string[] };
  const options = { log: silentLog(), elapsedMs: systemClock.elapsedMs };
  const server = await serveGrpc("127.0.0.1:0", readTls(bbsTls), (grpc) => {
    grpc.addService(LocketService, {
      lock: unaryHandler("Lock", options, async ({ resource, ttlInSeconds }) => {
        locket.calls.push(`lock ${resource?.key} ${ttlInSeconds}`);
        if (locket.holder !== "" && locket.holder !== resource?.owner) throw new BbsError("LockCollision");
        locket.holder = resource?.owner ?? "";
        return {};
      }),
      release: unaryHandler("Release", options, async ({ resource }) => {
        locket.calls.push(`release ${resource?.key}`);
        if (locket.holder === resource?.owner) locket.holder = "";
        return {};
      }),
      fetch: unaryHandler("Fetch", options, async () => ({ resource: undefined })),
      fetchAll: unaryHandler("FetchAll", options, async () => ({ resources: [] })),
    });
    grpc.addService(WatchServiceService, {
      watch: streamHandler("Watch", options, (request, { signal }) => bbs.openWatch(request, signal)),
    });
    grpc.addService(RepairServiceService, {
      repair: unaryHandler("Repair", options, async ({ items }, { signal }) => ({
        results: [...(await bbs.repair(items, signal))],
      })),
      forgetCell: unaryHandler("ForgetCell", options, async () => ({})),
    });
  });
  undo.push(() => server.close(1_000));
  const settings = {
    name: "c1",
    tls,
    metrics_address: "127.0.0.1:0",
    bbs_addresses: [`127.0.0.1:${server.port}`],
    lock_ttl_ms: 5_000,
  };
  const config = parseConfig(convergerConfig, JSON.stringify(settings), "test");
  const stop = new AbortController();
  let port = 0;
  const run = () => {
    const running = runConverger(config, { signal: stop.signal, log: silentLog() }, (serving) => {
      port = serving.port;
    });
    undo.push(async () => {
      stop.abort("SIGTERM");
      await running.catch(() => undefined);
    });
    return running;
  };
  const read = async (path: string): Promise<string> => (await fetch(`http://127.0.0.1:${port}${path}`)).text();
  return { bbs, locket, stop, run, read };
}

it("takes its lock, repairs, and gives the lock back when told to stop", async () => {
  const { bbs, locket, stop, run, read } = await setUp();
  bbs.commit(put("desiredLRP", desiredLRP("a", { instances: 2 })));
  const running = run();
  await vi.waitFor(() => expect(bbs.tables.actualLRPs.size).toBe(2), 20_000);
  await vi.waitFor(async () => expect(JSON.parse(await read("/health"))).toEqual({ ok: true, state: "active" }), 20_000);
  expect(await read("/metrics")).toMatch(/converger_lock_held\{service="c1"\} 1/);
  stop.abort("SIGTERM");
  await running;
  expect([locket.holder, locket.calls[0], locket.calls.at(-1)]).toEqual(["", "lock converger 5", "release converger"]);
});

it("stands by while another holds the lock, and works once it is free", async () => {
  const { bbs, locket, run, read } = await setUp();
  locket.holder = "another";
  bbs.commit(put("desiredLRP", desiredLRP("a")));
  void run();
  await vi.waitFor(() => expect(locket.calls.length).toBeGreaterThan(2), 20_000);
  expect(JSON.parse(await read("/health"))).toMatchObject({ ok: true, state: "standby" });
  expect(bbs.calls).toEqual([]);
  locket.holder = "";
  await vi.waitFor(() => expect(bbs.tables.actualLRPs.size).toBe(1), 20_000);
});

it("ends in the same way when told to stop while it stands by", async () => {
  const { locket, stop, run } = await setUp();
  locket.holder = "another";
  const running = run();
  await vi.waitFor(() => expect(locket.calls.length).toBeGreaterThan(0), 20_000);
  stop.abort("SIGTERM");
  await running;
});

it("fails as one that lost its leadership when the lock is another's, and repairs no more", async () => {
  const { bbs, locket, run } = await setUp();
  bbs.commit(put("desiredLRP", desiredLRP("a")));
  const running = run();
  const lost = expect(running).rejects.toBeInstanceOf(LostLeadershipError);
  await vi.waitFor(() => expect(bbs.calls).toHaveLength(1), 20_000);
  locket.holder = "another";
  await lost;
  bbs.commit(put("desiredLRP", desiredLRP("b")));
  expect([bbs.calls.length, locket.holder]).toEqual([1, "another"]);
});

it("refuses settings out of their bounds, naming them", () => {
  const text = JSON.stringify({ name: "c", converge_interval_ms: 10, lock_ttl_ms: 0, speed: 1 });
  expect(() => parseConfig(convergerConfig, text, "FILE")).toThrow(/converge_interval_ms.*lock_ttl_ms.*speed/s);
});
