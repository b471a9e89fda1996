// Cells with real containers, through a whole platform: tasks with downloads, uploads, results and restarts, and a cell that is emptied.
import { execFileSync } from "node:child_process";
import { createPrivateKey, X509Certificate } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { rootFSOfImage } from "@muster/garden/image-ref";
import { Action } from "@muster/proto/models/actions";
import { DesiredLRPUpdate } from "@muster/proto/models/desired_lrp";
import { BBSServiceClient } from "@muster/proto/muster/v1/bbs";
import { dial, unary } from "@muster/shared/rpc";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { leftovers } from "../support/garden.js";
import { pushImage, webCommand } from "../support/images.js";
import { fetchInstance, Platform } from "../support/platform.js";
import { clientOf } from "../support/platform-records.js";
import { startRegistry, type TestRegistry } from "../support/registry.js";
import { type LRPWish, shell, Work } from "../support/work.js";

const scratch = mkdtempSync(join(tmpdir(), "muster-rep-"));
let registry: TestRegistry;
let platform: Platform;
let work: Work;
let files: Server;
let base = "";
let image = "";
let rootFs = "";
const served = new Map<string, Buffer>();
const uploaded = new Map<string, string>();
const asked: string[] = [];

beforeAll(async () => {
  registry = await startRegistry();
  image = `${registry.host}/check/app:v1`;
  await pushImage(registry.host, { name: "check/app", tag: "v1", cmd: webCommand, exposedPorts: ["8080/tcp"], page: "page" });
  rootFs = rootFSOfImage(image);
  files = createServer((request, response) => {
    const path = request.url ?? "";
    asked.push(`${request.method} ${path}`);
    if (request.method === "POST") {
      let body = "";
      request.on("data", (chunk) => {
        body += chunk;
      });
      request.on("end", () => {
        uploaded.set(path, body);
        response.end();
      });
      return;
    }
    const found = served.get(path);
    if (found === undefined) response.writeHead(404).end();
    else response.writeHead(200, { etag: `"${path}"` }).end(found);
  });
  await new Promise<void>((resolve) => files.listen(0, "127.0.0.1", resolve));
  base = `http://127.0.0.1:${(files.address() as AddressInfo).port}`;
  const folder = join(scratch, "tools");
  mkdirSync(folder);
  writeFileSync(join(folder, "word"), "downloaded\n");
  served.set("/tools.tgz", execFileSync("tar", ["-czf", "-", "-C", folder, "."]));
  // Both reps are killed at once below: on a machine out of breath a new one takes longer than the usual 5 s to be there, and a cell that
  // was silent for so long has rightly lost its tasks.
  const patient = ["--presence-ttl", "60s"];
  platform = await Platform.start(["--cells", "2", "--zones", "2", ...patient, "--insecure-registry", registry.host]);
  await platform.muster("enable-feature-flag", "diego_docker");
  work = new Work(platform, rootFs);
});

afterAll(async () => {
  try {
    work?.[Symbol.dispose]();
    await platform?.[Symbol.asyncDispose]();
  } finally {
    await registry.stop();
    files.closeAllConnections();
    await new Promise((resolve) => files.close(resolve));
    rmSync(scratch, { recursive: true, force: true });
  }
  if (platform === undefined) return;
  for (const cell of ["cell-1", "cell-2"]) expect(await leftovers(platform.home, cell)).toEqual([]);
});

describe("a task", () => {
  it("downloads, runs one process after another, uploads, and gives its result", async () => {
    const download = {
      artifact: "tools",
      from: `${base}/tools.tgz`,
      to: "/in",
      user: "root",
      cacheKey: "tools",
      checksumAlgorithm: "",
      checksumValue: "",
      logSource: "",
    };
    const upload = { artifact: "droplet", from: "/out/droplet", to: `${base}/droplet`, user: "root", logSource: "" };
    await work.desireTask("staging", {
      resultFile: "/out/result",
      action: Action.fromPartial({
        serialAction: {
          actions: [
            { downloadAction: download },
            shell("mkdir /out; cat /in/word > /out/droplet; exit 0"),
            shell('printf \'{"word":"%s"}\' "$(cat /out/droplet)" > /out/result'),
            { uploadAction: upload },
          ],
        },
      }),
    });
    const task = await work.ended("staging");
    expect(task).toMatchObject({ failed: false, failureReason: "", result: '{"word":"downloaded"}' });
    expect(uploaded.get("/droplet")).toBe("downloaded\n");
  });

  it("has its dependencies read-only, fetched once for the cell", async () => {
    const cachedDependencies = [
      {
        name: "tools",
        from: `${base}/tools.tgz`,
        to: "/opt/tools",
        cacheKey: "dep",
        logSource: "",
        checksumAlgorithm: "",
        checksumValue: "",
      },
    ];
    asked.length = 0;
    const script = "cat /opt/tools/word > /result; touch /opt/tools/x 2>/dev/null && echo writable >> /result; true";
    for (const guid of ["dep-1", "dep-2", "dep-3"])
      await work.desireTask(guid, { cachedDependencies, resultFile: "/result", action: shell(script) });
    for (const guid of ["dep-1", "dep-2", "dep-3"])
      expect(await work.ended(guid)).toMatchObject({ failed: false, result: "downloaded\n" });
  });

  it("that fails says how, and one that cannot be made is given back with the reason", async () => {
    await work.desireTask("bad", { action: shell("exit 7") });
    await work.desireTask("nowhere", { rootFs: rootFSOfImage(`${registry.host}/check/none:v1`), action: shell("true") });
    expect(await work.ended("bad")).toMatchObject({ failed: true, failureReason: "TASK: Exited with status 7" });
    await platform.eventually("it was rejected", async () => ((await work.task("nowhere"))?.rejectionCount ?? 0) > 0, 30_000);
    expect((await work.task("nowhere"))?.rejectionReason).toMatch(/^failed to create container: /);
    await work.cancelTask("nowhere");
  });

  it("looks at an image without a container", async () => {
    await work.desireTask("look", { action: Action.fromPartial({ inspectImageAction: { imageUrl: rootFs, logSource: "STG" } }) });
    const task = await work.ended("look");
    expect(task.failed).toBe(false);
    expect(JSON.parse(task.result)).toMatchObject({
      lifecycle_type: "docker",
      image: { cmd: webCommand, exposed_tcp_ports: [8080] },
    });
  });

  it("outlives its rep, and is cancelled with ten seconds of grace", async () => {
    await work.desireTask("long", { resultFile: "/result", action: shell("sleep 6; echo survived > /result") });
    await work.desireTask("endless", { action: shell("trap 'exit 0' TERM; while :; do sleep 1; done") });
    await platform.eventually(
      "both run",
      async () => (await Promise.all(["long", "endless"].map((guid) => work.task(guid)))).every((task) => task?.state === 2),
      20_000,
    );
    for (const cell of ["cell-1", "cell-2"]) process.kill((await platform.service("rep", cell)).pid, "SIGKILL");
    expect(await work.ended("long")).toMatchObject({ failed: false, failureReason: "", result: "survived\n" });
    await work.cancelTask("endless");
    expect(await work.ended("endless")).toMatchObject({ failed: true, failureReason: "task was cancelled" });
    await platform.eventually(
      "no container is left",
      async () => {
        const cells = await platform.json<{ containers: { total: number; free: number } }[]>("cells");
        return cells.every(({ containers }) => containers.free === containers.total);
      },
      20_000,
    );
  });
});

describe("an instance", () => {
  it("finds its own certificate and those it may trust, as whatever user it is", async () => {
    const script = `cat "$CF_INSTANCE_CERT" "$CF_INSTANCE_KEY" "$CF_SYSTEM_CERT_PATH"/* > /tmp/result
      echo "$CF_INSTANCE_CERT $CF_INSTANCE_KEY $CF_INSTANCE_INTERNAL_IP" >> /tmp/result
      touch /etc/cf-instance-credentials/x "$CF_SYSTEM_CERT_PATH/x" 2>/dev/null && echo writable >> /tmp/result; true`;
    await work.desireTask("who-am-i", {
      resultFile: "/tmp/result",
      trustedSystemCertificatesPath: "/etc/cf-system-certificates",
      certificateProperties: { organizationalUnit: ["organization:o", "space:s", "app:a"] },
      action: Action.fromPartial({ runAction: { path: "/bin/sh", args: ["-c", script], user: "1000:1000", logSource: "TASK" } }),
    });
    const { result, failureReason } = await work.ended("who-am-i");
    expect(failureReason).toBe("");
    const [leaf = "", signer = "", trusted = ""] =
      result.match(/-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----/gs) ?? [];
    const [certificate, authority] = [new X509Certificate(leaf), new X509Certificate(trusted)];
    const [certFile, keyFile, address = "none", ...rest] = result.split("\n").at(-2)?.split(" ") ?? [];
    expect([certFile, keyFile, rest]).toEqual([
      "/etc/cf-instance-credentials/instance.crt",
      "/etc/cf-instance-credentials/instance.key",
      [],
    ]);
    expect(certificate.subject).toBe("OU=organization:o\nOU=space:s\nOU=app:a\nCN=who-am-i");
    expect([certificate.checkIP(address), certificate.checkHost("who-am-i")]).toEqual([address, "who-am-i"]);
    expect(new X509Certificate(signer).fingerprint256).toBe(authority.fingerprint256);
    expect([certificate.checkIssued(authority), certificate.verify(authority.publicKey)]).toEqual([true, true]);
    const key = /-----BEGIN EC PRIVATE KEY-----.*-----END EC PRIVATE KEY-----/s.exec(result)?.[0] ?? "";
    expect(certificate.checkPrivateKey(createPrivateKey(key))).toBe(true);
    // It opens nothing of the platform.
    const { addresses, tls } = clientOf(platform.home);
    const intruder = dial(BBSServiceClient, addresses, { ...tls, cert: Buffer.from(leaf), key: Buffer.from(key) });
    await expect(unary(intruder.ping.bind(intruder), {}, { deadlineMs: 2_000 })).rejects.toThrow();
    intruder.close();
  });
});

describe("an LRP of Diego's older kind", () => {
  const desire = (processGuid: string, over: LRPWish): Promise<void> =>
    work.desireLRP(processGuid, {
      action: shell("touch /ready; while :; do sleep 1; done"),
      metricTags: { source_id: { static: "before" } },
      ...over,
    });

  it("runs once its monitor says so, crashes when it never does, and takes new tags without a restart", async () => {
    await desire("good", { monitor: shell("test -f /ready") });
    await desire("never", { monitor: shell("echo not ready; exit 1"), startTimeoutMs: 3_000n });
    await platform.eventually("it runs", async () => (await work.rows("good"))[0]?.state === "RUNNING", 30_000);
    const before = (await work.rows("good"))[0]?.actualLrpInstanceKey?.instanceGuid;
    const update = DesiredLRPUpdate.fromPartial({ metricTags: { source_id: { static: "after" } } });
    await unary(work.bbs.updateDesiredLrp.bind(work.bbs), { processGuid: "good", update }, { deadlineMs: 5_000 });
    await platform.eventually(
      "its tags are new",
      async () => (await work.rows("good"))[0]?.metricTags.source_id === "after",
      20_000,
    );
    expect((await work.rows("good"))[0]).toMatchObject({ state: "RUNNING", crashCount: 0 });
    expect((await work.rows("good"))[0]?.actualLrpInstanceKey?.instanceGuid).toBe(before);
    await platform.eventually("it crashes", async () => ((await work.rows("never"))[0]?.crashCount ?? 0) > 0, 30_000);
    expect((await work.rows("never"))[0]?.crashReason).toMatch(/^Instance never healthy after .*: not ready$/);
    for (const processGuid of ["good", "never"]) await work.removeLRP(processGuid);
  });
});

describe("a cell that is emptied", () => {
  it("is never short of an instance, ends up empty and present, and takes work again when that is taken back", async () => {
    await platform.muster("push", "web", "--docker-image", image, "-i", "2");
    const [victim] = (await platform.running("web")).filter((instance) => instance.cell_id === "cell-1");
    if (victim === undefined) throw new Error("nothing runs on cell-1");
    let answers = 0;
    let over = false;
    const asking = (async () => {
      while (!over) {
        const rows = (await platform.app("web")).instances.filter(
          ({ index, state }) => index === victim.index && state === "RUNNING",
        );
        expect(rows.length, "an instance runs at every moment").toBeGreaterThan(0);
        const pages = await Promise.allSettled(rows.map((row) => fetchInstance(row)));
        if (pages.some((page) => page.status === "fulfilled" && page.value.includes("page"))) answers += 1;
      }
    })();
    await platform.muster("evacuate", "cell-1", "--wait");
    over = true;
    await asking;
    expect(answers).toBeGreaterThan(0);
    const running = await platform.running("web");
    expect(running.map((instance) => instance.cell_id)).toEqual(["cell-2", "cell-2"]);
    expect((await platform.app("web")).instances.every(({ crash_count }) => crash_count === 0)).toBe(true);
    const cellOne = async () =>
      (await platform.json<{ cell_id: string; state: string }[]>("cells")).find((cell) => cell.cell_id === "cell-1")?.state;
    expect(await cellOne()).toBe("evacuating");
    const rep = await platform.service("rep", "cell-1");
    process.kill(rep.pid, "SIGKILL");
    await platform.eventually("its rep is back", async () => (await platform.service("rep", "cell-1")).pid !== rep.pid, 20_000);
    await platform.eventually("it evacuates still", async () => (await cellOne()) === "evacuating", 20_000);
    await platform.muster("evacuate", "cell-1", "--cancel");
    await platform.eventually("it takes work again", async () => (await cellOne()) === "healthy", 20_000);
    await platform.muster("scale", "web", "-i", "4");
    await platform.eventually(
      "work is placed there",
      async () => (await platform.running("web")).some((instance) => instance.cell_id === "cell-1"),
      30_000,
    );
  });
});
