// A version as a DesiredLRP and back.
import type { ImageMetadata } from "@muster/garden";
import { parseImage } from "@muster/garden/image-ref";
import { DesiredLRP } from "@muster/proto/models/desired_lrp";
import { describe, expect, it } from "vitest";
import { type AppAnnotation, formatAnnotation, parseAnnotation } from "./annotation.js";
import { type AppSettings, defaultSettings, desiredOf, settingsOf, successorOf } from "./desired.js";

const digest = `sha256:${"a".repeat(64)}`;
const appGuid = "11111111-1111-4111-8111-111111111111";
const versionGuid = "22222222-2222-4222-8222-222222222222";
const image: ImageMetadata = {
  digest,
  entrypoint: [],
  cmd: ["httpd", "-f", "-v"],
  workingDir: "/www",
  user: "alice",
  env: ["FROM_IMAGE=yes"],
  exposedTcpPorts: [8080, 9090],
};
const annotation: AppAnnotation = {
  name: "web",
  app_guid: appGuid,
  version: 1,
  image: "127.0.0.1:5000/check/app:v1",
  digest,
  requested_state: "STARTED",
  wanted: 3,
  own_command: false,
  replaces: [],
  updating_until_ms: 0,
};
const make = (settings: Partial<AppSettings> = {}, change: Partial<AppAnnotation> = {}) =>
  desiredOf({
    annotation: { ...annotation, ...change },
    versionGuid,
    settings: { ...defaultSettings, instances: 3, ...settings },
    image,
    reference: parseImage("127.0.0.1:5000/check/app:v1"),
  });

describe("a version", () => {
  const desired = make();

  it("is pinned to the digest, without its tag", () => {
    expect(desired.rootFs).toBe(`docker://127.0.0.1:5000/check/app@sha256#${"a".repeat(64)}`);
  });

  it("has a process guid of app and version within Diego's pattern", () => {
    expect(desired.processGuid).toBe(`${appGuid}-${versionGuid}`);
    expect(desired.processGuid).toMatch(/^[A-Za-z0-9_-]{1,255}$/);
  });

  it("runs the image's command as the image's user in its folder", () => {
    expect(desired.action?.runAction).toMatchObject({
      path: "httpd",
      args: ["-f", "-v"],
      user: "alice",
      dir: "/www",
      logSource: "APP/PROC/WEB",
    });
  });

  it("opens every exposed port and names itself in its metric tags", () => {
    expect(desired.ports).toEqual([8080, 9090]);
    expect(desired.metricTags.source_id?.static).toBe(appGuid);
  });

  it("is known by its app's guid in its certificate, and finds what it may trust where Cloud Foundry's apps do", () => {
    expect(desired).toMatchObject({
      certificateProperties: { organizationalUnit: [`app:${appGuid}`] },
      trustedSystemCertificatesPath: "/etc/cf-system-certificates",
    });
  });

  it("wants nothing while stopped, and remembers how many it should", () => {
    const stopped = make({}, { requested_state: "STOPPED" });
    expect(stopped.instances).toBe(0);
    expect(settingsOf(stopped).instances).toBe(3);
  });
});

describe("settings read back", () => {
  it.each<{ readonly what: string; readonly settings: Partial<AppSettings>; readonly own: boolean }>([
    { what: "defaults", settings: {}, own: false },
    { what: "a command of the user", settings: { command: "sleep 5" }, own: true },
    { what: "environment", settings: { environment: { A: "1" } }, own: false },
    { what: "an http check", settings: { health: { type: "http", endpoint: "/up" } }, own: false },
    { what: "no check", settings: { health: { type: "process", endpoint: "/" } }, own: false },
    { what: "credentials", settings: { credentials: { username: "u", password: "p" } }, own: false },
    { what: "sizes and time", settings: { memoryMb: 64, diskMb: 128, startTimeoutMs: 5_000 }, own: false },
  ])("are the ones it was made with: $what", ({ settings, own }) => {
    expect(settingsOf(make(settings, { own_command: own }))).toEqual({ ...defaultSettings, instances: 3, ...settings });
  });
});

describe("a successor", () => {
  const next = successorOf(make({ environment: { A: "1" } }), {
    annotation: { ...annotation, version: 2 },
    versionGuid: "next",
    environment: { B: "2" },
  });

  it("has an identity, whether or not the version before had one", () => {
    const before = DesiredLRP.fromPartial({ ...make(), certificateProperties: undefined, trustedSystemCertificatesPath: "" });
    const after = successorOf(before, { annotation, versionGuid: "next", environment: {} });
    expect(after.certificateProperties).toEqual(make().certificateProperties);
    expect(after.trustedSystemCertificatesPath).toBe(make().trustedSystemCertificatesPath);
  });

  it("differs in guid and environment alone", () => {
    expect(next.processGuid).toBe(`${appGuid}-next`);
    expect(settingsOf(next).environment).toEqual({ B: "2" });
    expect(next.rootFs).toBe(make().rootFs);
    expect(next.ports).toEqual([8080, 9090]);
  });
});

describe("annotations", () => {
  it("come back as they went", () => {
    expect(parseAnnotation(formatAnnotation(annotation))).toEqual(annotation);
  });

  it.each(["", "{}", "[]", "null", '{"name":1}'])("of others are not ours: %s", (text) => {
    expect(parseAnnotation(text)).toBeUndefined();
  });
});
