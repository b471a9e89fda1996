// Flags over manifest over what the app had.
import { describe, expect, it } from "vitest";
import { UsageError } from "../exit.js";
import { defaultSettings } from "./desired.js";
import { readManifest } from "./manifest.js";
import { mergeSettings, type PushFlags } from "./wishes.js";

const merge = (flags: PushFlags, manifestText?: string, before = defaultSettings, password?: string) =>
  mergeSettings(
    before,
    flags,
    manifestText === undefined ? undefined : readManifest(manifestText, "manifest.yml", undefined),
    password,
  );

describe("settings of a push", () => {
  it("are the defaults where nothing is said", () => {
    expect(merge({})).toEqual(defaultSettings);
  });

  it("come from the manifest, and flags win over it", () => {
    const text =
      "applications:\n- name: web\n  memory: 64M\n  instances: 4\n  env: {A: 1, B: {c: d}}\n  docker: {image: nginx}\n";
    expect(merge({ instances: "2", env: ["A=2"] }, text)).toMatchObject({
      memoryMb: 64,
      instances: 2,
      environment: { A: "2", B: '{"c":"d"}' },
    });
  });

  it("keep what the app had", () => {
    const before = { ...defaultSettings, memoryMb: 999, environment: { OLD: "1" }, command: "run me" };
    expect(merge({ env: ["NEW=2"] }, undefined, before)).toMatchObject({
      memoryMb: 999,
      command: "run me",
      environment: { OLD: "1", NEW: "2" },
    });
    expect(merge({ command: "null" }, undefined, before).command).toBeUndefined();
  });

  it("take the password from the environment alone", () => {
    expect(merge({ dockerUsername: "u" }, undefined, defaultSettings, "secret").credentials).toEqual({
      username: "u",
      password: "secret",
    });
    expect(() => merge({ dockerUsername: "u" })).toThrow("CF_DOCKER_PASSWORD");
  });

  it.each<[string, PushFlags]>([
    ["a size without unit", { memory: "256" }],
    ["no memory", { memory: "0M" }],
    ["a negative count", { instances: "-1" }],
    ["half an instance", { instances: "1.5" }],
    ["an unknown check", { healthCheckType: "ping" }],
    ["an endpoint for a port check", { healthCheckHttpEndpoint: "/x" }],
    ["a variable of the platform", { env: ["PORT=1"] }],
    ["a variable without a value", { env: ["A"] }],
    ["no time at all", { timeout: "0" }],
  ])("refuse %s as wrong usage", (_, flags) => {
    expect(() => merge(flags)).toThrow(UsageError);
  });
});

describe("a manifest", () => {
  it.each([
    ["that is no YAML", "a: [", "is not YAML"],
    ["without apps", "version: 1", "applications"],
    ["with a key that does not apply", "applications: [{name: web, buildpack: ruby}]", "buildpack"],
  ])("%s is refused", (_, text, why) => {
    expect(() => readManifest(text, "manifest.yml", undefined)).toThrow(why);
  });

  it("of several apps needs a name", () => {
    const text = "applications: [{name: a}, {name: b}]";
    expect(() => readManifest(text, "manifest.yml", undefined)).toThrow("a, b");
    expect(readManifest(text, "manifest.yml", "b").name).toBe("b");
  });
});
