// Health checks of real containers, made by the cell: what makes an instance running, what ends it and why, and what makes it routable.
// All cases run at once.
import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { rootFSOfImage } from "@muster/garden/image-ref";
import type { ActualLRP } from "@muster/proto/models/actual_lrp";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { leftovers } from "../support/garden.js";
import { pushImage } from "../support/images.js";
import { Platform } from "../support/platform.js";
import { startRegistry, type TestRegistry } from "../support/registry.js";
import { type LRPWish, shell, Work } from "../support/work.js";

let registry: TestRegistry;
let platform: Platform;
let work: Work;
let bare = "";

const scratch = mkdtempSync(join(tmpdir(), "muster-health-"));

/** An image of one static program and one page: no shell, no tool, no user. */
function bareLayer(): Uint8Array {
  const root = join(scratch, "bare");
  mkdirSync(join(root, "www"), { recursive: true });
  copyFileSync("/bin/busybox", join(root, "httpd"));
  writeFileSync(join(root, "www", "index.html"), "bare\n");
  return execFileSync("tar", ["--create", "--file=-", "-C", root, "."], { maxBuffer: 16 * 1_048_576 });
}

const intervalMs = 500n;
const tcp = (connectTimeoutMs = 0n) => ({ tcpCheck: { port: 8080, connectTimeoutMs, intervalMs } });
const http = (path: string, requestTimeoutMs = 0n) => ({ httpCheck: { port: 8080, path, requestTimeoutMs, intervalMs } });
/** `readiness` alone: nothing makes it running but its process. */
const checked = (...checks: ReturnType<typeof tcp | typeof http>[]) => ({ checks, readinessChecks: [], logSource: "" });

/** A web server whose pages are scripts: each is a name and what it does. */
const serving = (scripts: Readonly<Record<string, string>>, then = "while :; do sleep 1; done"): LRPWish["action"] =>
  shell(`mkdir -p /www/cgi-bin
${Object.entries(scripts)
  .map(([name, body]) => `printf '%s\\n' '#!/bin/sh' '${body}' > /www/cgi-bin/${name}`)
  .join("\n")}
busybox chmod +x /www/cgi-bin/*
httpd -f -p 8080 -h /www & server=$!
${then}`);
const status = (text: string, more = ""): string => `printf "Status: ${text}\\r\\n${more}\\r\\n"`;
const ok = status("200 OK");

interface Case {
  readonly name: string;
  readonly lrp: LRPWish;
  /** Of its crash; left out: it runs and goes on. */
  readonly reason?: RegExp;
  readonly lines: readonly (string | RegExp)[];
}

const monitored = ["CELL OUT Starting health monitoring of container", "CELL OUT Container became healthy"] as const;
const never = (attempts: string, text: string): Pick<Case, "reason" | "lines"> => {
  const why = `Timed out after 2s \\(${attempts} attempts\\) waiting for startup check to succeed: ${text}`;
  return {
    reason: new RegExp(`^Instance never healthy after [23](\\.\\d+)?s: ${why}$`),
    lines: [
      monitored[0],
      new RegExp(`^HEALTH ERR ${why}$`),
      /^CELL ERR Failed after [23](\.\d+)?s: startup health check never passed\.$/,
    ],
  };
};
const ill = (text: string): Pick<Case, "reason" | "lines"> => ({
  reason: new RegExp(`^Instance became unhealthy: Liveness check unsuccessful: ${text}$`),
  lines: [...monitored, new RegExp(`^HEALTH ERR Liveness check unsuccessful: ${text}$`), "CELL ERR Container became unhealthy"],
});
const address = "\\d+\\.\\d+\\.\\d+\\.\\d+:8080";
const startTimeoutMs = 2_000n;

const cases: readonly Case[] = [
  {
    name: "a page of an image without a shell or any tool",
    lrp: {
      action: { runAction: { path: "/httpd", args: ["-f", "-p", "8080", "-h", "/www"], user: "0", logSource: "APP" } },
      checkDefinition: checked(http("/"), tcp()),
    },
    lines: monitored,
  },
  {
    name: "a page that redirects to one that is well",
    lrp: {
      action: serving({ moved: status("302 Found", "Location: /index.html\\r\\n") }),
      checkDefinition: checked(http("/cgi-bin/moved")),
    },
    lines: monitored,
  },
  {
    name: "a page that is slow, but not too slow",
    lrp: { action: serving({ slow: `sleep 1; ${ok}` }), checkDefinition: checked(http("/cgi-bin/slow", 20_000n)) },
    lines: monitored,
  },
  {
    name: "nobody listens",
    lrp: { startTimeoutMs, action: shell("sleep 1000"), checkDefinition: checked(tcp()) },
    ...never("\\d+", `failed to make TCP connection to ${address}: connection refused`),
  },
  {
    name: "only its own loopback is listened to",
    lrp: { startTimeoutMs, action: shell("httpd -f -p 127.0.0.1:8080 -h /www"), checkDefinition: checked(http("/")) },
    ...never("\\d+", "failed to make HTTP request to '/' on port 8080: connection refused"),
  },
  {
    name: "a page that is not there",
    lrp: { startTimeoutMs, action: shell("httpd -f -p 8080 -h /www"), checkDefinition: checked(http("/none")) },
    ...never("\\d+", "failed to make HTTP request to '/none' on port 8080: received status code 404 in \\d+ms"),
  },
  {
    name: "a page that redirects to itself",
    lrp: {
      startTimeoutMs,
      action: serving({ loop: status("302 Found", "Location: /cgi-bin/loop\\r\\n") }),
      checkDefinition: checked(http("/cgi-bin/loop", 20_000n)),
    },
    ...never("\\d+", "failed to make HTTP request to '/cgi-bin/loop' on port 8080: (too many redirects|timed out after .*)"),
  },
  {
    name: "a port that takes connections and says nothing",
    lrp: { startTimeoutMs, action: shell("nc -ll -p 8080 -e /bin/sleep 1000"), checkDefinition: checked(http("/", 60_000n)) },
    ...never("\\d+", "failed to make HTTP request to '/' on port 8080: timed out after (1\\.\\d\\d|2.00) seconds"),
  },
  {
    name: "a server that sends headers without end",
    lrp: {
      startTimeoutMs,
      action: shell("printf 'HTTP/1.1 200 OK\\r\\n' > /head; nc -ll -p 8080 -e /bin/sh -c 'cat /head; yes \"x: y\"'"),
      checkDefinition: checked(http("/")),
    },
    ...never("\\d+", "failed to make HTTP request to '/' on port 8080: (Parse Error: .*|timed out after .*)"),
  },
  {
    name: "a page that hangs after a while",
    lrp: {
      action: serving({ up: `test -f /tmp/hang && sleep 100; ${ok}` }, "sleep 3; touch /tmp/hang; while :; do sleep 1; done"),
      checkDefinition: checked(http("/cgi-bin/up")),
    },
    ...ill("failed to make HTTP request to '/cgi-bin/up' on port 8080: timed out after 1.00 seconds"),
  },
  {
    name: "a page that turns bad",
    lrp: {
      action: serving(
        { up: `test -f /tmp/bad && exec printf "Status: 503 Busy\\r\\n\\r\\n"; ${ok}` },
        "sleep 3; touch /tmp/bad; while :; do sleep 1; done",
      ),
      checkDefinition: checked(http("/cgi-bin/up", 10_000n)),
    },
    ...ill("failed to make HTTP request to '/cgi-bin/up' on port 8080: received status code 503 in \\d+ms"),
  },
  {
    name: "a port that is closed after a while, under a definition's own source",
    lrp: {
      action: serving({}, "sleep 3; kill $server; while :; do sleep 1; done"),
      checkDefinition: { ...checked(tcp()), logSource: "PULSE" },
    },
    ...ill(`failed to make TCP connection to ${address}: connection refused`),
    lines: [...monitored, /^PULSE ERR Liveness check unsuccessful: /, "CELL ERR Container became unhealthy"],
  },
];

/** Readiness is turned from outside: each page of the app makes or removes what its readiness is asked of. */
const turned: LRPWish = {
  ports: [8080],
  action: serving({ on: `touch /www/ready; ${ok}`, off: `rm -f /www/ready; ${ok}` }),
  checkDefinition: { checks: [tcp()], readinessChecks: [http("/ready", 10_000n)], logSource: "" },
};

const guidOf = (at: number): string => `case-${at}`;

beforeAll(async () => {
  registry = await startRegistry();
  const image = await pushImage(registry.host, { name: "check/app", exposedPorts: [] });
  bare = await pushImage(registry.host, { name: "check/bare", bare: true, layers: [bareLayer()], exposedPorts: [] });
  platform = await Platform.start(["--cells", "1", "--insecure-registry", registry.host]);
  await platform.muster("enable-feature-flag", "diego_docker");
  work = new Work(platform, rootFSOfImage(image));
  await work.desireLRP("turned", { logSource: "CELL", ...turned });
  await work.desireLRP(guidOf(0), { logSource: "CELL", rootFs: rootFSOfImage(bare), ...cases[0]?.lrp });
  await Promise.all(cases.slice(1).map(({ lrp }, at) => work.desireLRP(guidOf(at + 1), { logSource: "CELL", ...lrp })));
});

afterAll(async () => {
  try {
    work?.[Symbol.dispose]();
    await platform?.[Symbol.asyncDispose]();
  } finally {
    await registry.stop();
    rmSync(scratch, { recursive: true, force: true });
  }
  if (platform !== undefined) expect(await leftovers(platform.home, "cell-1")).toEqual([]);
});

const hasCrashed = ({ crashCount }: ActualLRP): boolean => crashCount > 0;
const isRoutable = ({ optionalRoutable }: ActualLRP): boolean => optionalRoutable?.value === true;
const runs = ({ state }: ActualLRP): boolean => state === "RUNNING";
/** What a cell says of checks. */
const ofChecks = (lines: readonly string[]): string[] => lines.filter((line) => /health|check/i.test(line));

describe("an instance", () => {
  it.each(cases.map((one, at) => ({ ...one, guid: guidOf(at) })))("$name", async ({ guid, reason, lines }) => {
    const row = await work.row(guid, reason === undefined ? "it runs" : "it crashes", reason === undefined ? runs : hasCrashed);
    expect(row.crashReason).toEqual(reason === undefined ? "" : expect.stringMatching(reason));
    const said = ofChecks(await work.lines(guid));
    expect(said.slice(0, lines.length)).toEqual(
      lines.map((line) => (typeof line === "string" ? line : expect.stringMatching(line))),
    );
    if (reason === undefined) expect([row.crashCount, isRoutable(row)]).toEqual([0, true]);
    await work.removeLRP(guid);
  });

  it("is routable while its readiness checks pass, and is not restarted when they do not", async () => {
    const before = await work.row("turned", "it runs", runs);
    expect(isRoutable(before)).toBe(false);
    const port = before.actualLrpNetInfo?.ports[0]?.hostPort;
    const turn = async (way: "on" | "off"): Promise<void> => {
      const answer = await fetch(`http://127.0.0.1:${port}/cgi-bin/${way}`, { signal: AbortSignal.timeout(20_000) });
      expect(answer.status).toBe(200);
      const after = await work.row("turned", `it is turned ${way}`, (row) => isRoutable(row) === (way === "on"), 20_000);
      expect(after).toMatchObject({ state: "RUNNING", crashCount: 0, actualLrpInstanceKey: before.actualLrpInstanceKey });
    };
    for (const way of ["on", "off", "on"] as const) await turn(way);
    const rep = await platform.service("rep", "cell-1");
    process.kill(rep.pid, "SIGKILL");
    await turn("off");
    const passed = "HEALTH OUT Container passed the readiness health check. Container marked ready and added to route pool.";
    const lines = ofChecks(await work.lines("turned"));
    // Those of the rep that was killed are gone with it; its successor goes on from what it found out.
    expect(lines).toEqual([
      "HEALTH OUT Starting readiness health monitoring of container",
      expect.stringMatching(
        /^HEALTH ERR Readiness check unsuccessful: failed to make HTTP request to '\/ready' on port 8080: received status code 404 in /,
      ),
      "HEALTH OUT Container failed the readiness health check. Container marked not ready and removed from route pool.",
    ]);
    await turn("on");
    expect(ofChecks(await work.lines("turned")).at(-1)).toBe(passed);
    await work.removeLRP("turned");
  });
});
