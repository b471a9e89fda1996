// Two BBSs on a real etcd, as `up` runs them: the active one is killed while a client desires in a loop; nothing acknowledged is lost.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { DesiredLRP } from "@muster/proto/models/desired_lrp";
import { BBSServiceClient } from "@muster/proto/muster/v1/bbs";
import { BbsError, isBbsError } from "@muster/shared/errors";
import { collect, dial, serverStream, unary } from "@muster/shared/rpc";
import { readTls } from "@muster/shared/tls";
import { describe, expect, it } from "vitest";
import { startEtcd } from "../support/etcd.js";
import { issued, startGuardedEtcd } from "../support/guarded-etcd.js";
import { Platform } from "../support/platform.js";

interface ClientFile {
  readonly bbs_grpc: string[];
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

function bbsClient(home: string): BBSServiceClient {
  const client = JSON.parse(readFileSync(join(home, "client.json"), "utf8")) as ClientFile;
  const at = (file: string): string => join(home, file);
  return dial(
    BBSServiceClient,
    client.bbs_grpc,
    readTls({ ca_file: at(client.ca), cert_file: at(client.cert), key_file: at(client.key) }),
  );
}

const lrp = (processGuid: string): DesiredLRP =>
  DesiredLRP.fromPartial({
    processGuid,
    domain: "loop",
    rootFs: "preloaded:none",
    instances: 1,
    memoryMb: 16,
    metricTags: { source_id: { static: processGuid } },
    action: { runAction: { path: "/bin/true", user: "root" } },
  });

/** Repeats one desire until it is acknowledged: `ResourceExists` says that an earlier try of ours arrived. */
async function desireUntilAcknowledged(client: BBSServiceClient, processGuid: string, until: AbortSignal): Promise<void> {
  while (!until.aborted) {
    try {
      await unary(client.desireDesiredLrp.bind(client), { desiredLrp: lrp(processGuid) }, { deadlineMs: 2_000 });
      return;
    } catch (error) {
      if (isBbsError(error, "ResourceExists")) return;
      if (!(error instanceof BbsError) || !["Unavailable", "OutcomeUnknown", "Timeout", "UnknownError"].includes(error.code))
        throw error;
    }
  }
  throw new Error(`${processGuid} was not acknowledged in time`);
}

describe("an etcd that lets nobody in unasked", () => {
  it("serves a platform that shows certificate, user and password", async () => {
    await using etcd = await startGuardedEtcd("/muster/");
    const { cert, key } = await issued(etcd.authority, "platform");
    const flags = [
      ...["--store", "etcd", "--etcd", etcd.endpoints.join(","), "--etcd-quota", "2G"],
      ...["--etcd-ca", await etcd.file(etcd.authority.certificatePem)],
      ...["--etcd-cert", await etcd.file(cert), "--etcd-key", await etcd.file(key)],
      ...["--etcd-user", etcd.user, "--etcd-password-file", await etcd.file(etcd.password)],
    ];
    await using platform = await Platform.start([...flags, "--runtime", "simulated", "--cells", "1"]);
    const client = bbsClient(platform.home);
    await desireUntilAcknowledged(client, "guarded", AbortSignal.timeout(30_000));
    client.close();
  });
});

describe("two BBSs on etcd", () => {
  it("a killed active BBS is followed by the other, with every acknowledged LRP", async () => {
    await using etcd = await startEtcd();
    const flags = ["--store", "etcd", "--etcd", etcd.endpoints.join(","), "--bbs", "2", "--runtime", "simulated", "--cells", "1"];
    await using platform = await Platform.start(flags);
    const client = bbsClient(platform.home);
    const deadline = AbortSignal.timeout(90_000);
    const acknowledged: string[] = [];
    const first = await platform.service("bbs");
    let killedAt = -1;
    try {
      for (let n = 0; n < 600 && (killedAt < 0 || acknowledged.length < killedAt + 200); n += 1) {
        await desireUntilAcknowledged(client, `loop-${n}`, deadline);
        acknowledged.push(`loop-${n}`);
        if (n === 200) {
          process.kill(first.pid, "SIGKILL");
          killedAt = n;
        }
      }
      expect(acknowledged.length).toBe(killedAt + 200);
      const listed = await collect(
        serverStream(client.desiredLrpSchedulingInfos.bind(client), { domain: "loop", processGuids: [], appGuids: [] }),
        (chunk) => chunk.desiredLrpSchedulingInfos,
      );
      const there = new Set(listed.map((info) => info.desiredLrpKey?.processGuid));
      expect(acknowledged.filter((guid) => !there.has(guid))).toEqual([]);
      // The standby, or the restarted process: whichever won. Never the killed one.
      expect((await platform.service("bbs")).pid).not.toBe(first.pid);
    } finally {
      client.close();
    }
  });
});
