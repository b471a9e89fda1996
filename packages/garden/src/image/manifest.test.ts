// What is read from manifests and configs, and which images are refused with which words.
import { describe, expect, it } from "vitest";
import { ToolError } from "../tools/exec.js";
import { imageError } from "./errors.js";
import { choosePlatform, digestOf, hostPlatform, isZstd, parseConfig, parseManifest } from "./manifest.js";

const bytes = (value: unknown): Buffer => Buffer.from(typeof value === "string" ? value : JSON.stringify(value));
const digest = (letter: string): string => `sha256:${letter.repeat(64)}`;
const config = { mediaType: "application/vnd.oci.image.config.v1+json", digest: digest("a"), size: 1 };
const here = { os: "linux", architecture: "amd64" };

describe("manifests", () => {
  it("name their config and layers, in OCI's and Docker's types", () => {
    const layer = { mediaType: "application/vnd.oci.image.layer.v1.tar+zstd", digest: digest("b"), size: 2 };
    const read = parseManifest(bytes({ schemaVersion: 2, config, layers: [layer] }), "x");
    expect(read).toMatchObject({ kind: "manifest", manifest: { configDigest: digest("a"), layers: [layer] } });
    expect(isZstd(layer)).toBe(true);
    const docker = { ...config, mediaType: "application/vnd.docker.container.image.v1+json" };
    expect(parseManifest(bytes({ schemaVersion: 2, config: docker, layers: [] }), "x").kind).toBe("manifest");
  });
  it.each([
    ["schema 1", { schemaVersion: 1, fsLayers: [] }, "image-unsupported"],
    [
      "a chart",
      { schemaVersion: 2, config: { ...config, mediaType: "application/vnd.cncf.helm.config.v1+json" } },
      "image-unsupported",
    ],
    ["no JSON", "<html>", "image-invalid"],
    ["an array", [], "image-invalid"],
    ["no version", { config }, "image-invalid"],
    ["no config", { schemaVersion: 2 }, "image-invalid"],
    ["a digest that is none", { schemaVersion: 2, config: { ...config, digest: "sha256:../../x" } }, "image-invalid"],
  ])("that are %s are refused", (_what, document, code) => {
    expect(() => parseManifest(bytes(document), "x")).toThrow(expect.objectContaining({ code }));
  });
  it("in an index are chosen by platform, or what there is is named", () => {
    const entries = [
      { ...config, digest: digest("c"), platform: { os: "linux", architecture: "arm64" } },
      { ...config, digest: digest("d"), platform: { os: "unknown", architecture: "unknown" } },
    ];
    const index = parseManifest(
      bytes({ schemaVersion: 2, mediaType: "application/vnd.oci.image.index.v1+json", manifests: entries }),
      "x",
    );
    if (index.kind !== "index") throw new Error("no index");
    expect(choosePlatform(index.entries, { os: "linux", architecture: "arm64" }, "x")).toBe(digest("c"));
    expect(() => choosePlatform(index.entries, here, "x")).toThrow(
      "x has no image for linux/amd64, this machine's; it has: linux/arm64",
    );
    expect(hostPlatform("x64")).toEqual(here);
  });
});

describe("image configs", () => {
  it("become metadata: TCP ports ascending, empty where nothing is said", () => {
    const read = parseConfig(
      bytes({
        ...here,
        config: {
          Entrypoint: ["/e"],
          Cmd: null,
          User: "web",
          Env: ["A=1", "bad"],
          ExposedPorts: { "9090/tcp": {}, "80": {}, "53/udp": {} },
        },
      }),
      digest("a"),
      here,
      "x",
    );
    expect(read).toEqual({
      digest: digest("a"),
      entrypoint: ["/e"],
      cmd: [],
      workingDir: "",
      user: "web",
      env: ["A=1"],
      exposedTcpPorts: [80, 9_090],
    });
    expect(parseConfig(bytes(here), digest("a"), here, "x").cmd).toEqual([]);
  });
  it.each(["70000/tcp", "-1", "http", "80/xyz"])("that expose %s are invalid", (port) => {
    expect(() => parseConfig(bytes({ ...here, config: { ExposedPorts: { [port]: {} } } }), digest("a"), here, "x")).toThrow(
      expect.objectContaining({ code: "image-invalid" }),
    );
  });
  it("for another machine are unsupported", () => {
    expect(() => parseConfig(bytes({ os: "windows", architecture: "amd64" }), digest("a"), here, "x")).toThrow(
      /it has: windows\/amd64/,
    );
  });
  it("are known by the digest of their bytes", () => {
    expect(digestOf(Buffer.from(""))).toBe("sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  });
});

describe("skopeo's words", () => {
  it.each([
    ["reading manifest v1 in 127.0.0.1:5000/x: manifest unknown", "image-not-found"],
    ["reading manifest v1 in r/x: name unknown: repository name not known to registry", "image-not-found"],
    ["unauthorized: authentication required", "image-unauthorized"],
    ["errors: denied: requested access to the resource is denied unauthorized: authentication required", "image-unauthorized"],
    ["pinging container registry r: Get https://r/v2/: dial tcp 127.0.0.1:1: connect: connection refused", "image-unreachable"],
    ["Get https://r/v2/: http: server gave HTTP response to HTTPS client", "image-unreachable"],
    ["Get https://r/v2/: x509: certificate signed by unknown authority", "image-unreachable"],
    ["toomanyrequests: You have reached your pull rate limit", "image-unreachable"],
    ["writing blob: write /x: no space left on device", "no-space"],
    ["Digest did not match, expected sha256:a, got sha256:b", "image-invalid"],
    ["something new", "tool-failed"],
  ])("'%s' is %s", (words, code) => {
    const error = imageError(
      new ToolError("skopeo", "exit", "ended", { code: 1, stderr: `time="t" level=fatal msg="Error: ${words}"\n` }),
      "r/x:v1",
      "r",
    );
    expect(error.code).toBe(code);
    expect(error.message).not.toContain("level=fatal");
  });
  it("that never came are a registry out of reach", () => {
    expect(imageError(new ToolError("skopeo", "timeout", "slow"), "x", "r").code).toBe("image-unreachable");
  });
});
