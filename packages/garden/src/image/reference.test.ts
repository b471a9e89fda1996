// Image references as people type them, and the rootfs URLs they become.
import { describe, expect, it } from "vitest";
import { displayImage, parseImage, parseRootFS, pinRootFS, registryOf, rootFSOfImage, skopeoReference } from "./reference.js";

const hex = "a".repeat(64);

describe("what a user types becomes a rootfs URL", () => {
  it.each([
    ["image", "docker:///library/image"],
    ["nginx:1.25", "docker:///library/nginx#1.25"],
    ["user/image:tag", "docker:///user/image#tag"],
    ["docker.io/image:tag", "docker://docker.io/library/image#tag"],
    ["10.244.2.6:8080/user/image:tag", "docker://10.244.2.6:8080/user/image#tag"],
    ["127.0.0.1:5055/check/app:v1", "docker://127.0.0.1:5055/check/app#v1"],
    ["localhost/image", "docker://localhost/image"],
    [`user/image@sha256:${hex}`, `docker:///user/image@sha256#${hex}`],
    [`user/image:tag@sha256:${hex}`, `docker:///user/image#tag@sha256:${hex}`],
  ])("%s -> %s", (image, rootFs) => {
    expect(rootFSOfImage(image)).toBe(rootFs);
    expect(parseRootFS(rootFs)).toEqual(parseImage(image));
  });
  it.each([
    ["https://docker.io/x", "Docker URI [https://docker.io/x] should not contain scheme"],
    ["UPPER/case", "Invalid image name [UPPER/case]"],
    ["x", undefined],
    ["", "Invalid image name []"],
    ["user/image:a b", "Invalid image tag [a b]"],
    ["user/image:", "Invalid image tag []"],
    ["user/image@sha256:short", "Invalid image tag [sha256:short]"],
    ["-;rm.x/y", "Invalid image registry [-;rm.x]"],
  ])("%s is refused with Cloud Controller's words", (image, message) => {
    if (message === undefined) expect(() => rootFSOfImage(image)).toThrow(/Invalid image name/);
    else expect(() => rootFSOfImage(image)).toThrow(message);
  });
});

describe("rootfs URLs", () => {
  it.each([
    ["docker:///redis", "docker://docker.io/library/redis:latest"],
    ["docker://registry-1.docker.io/library/redis#7", "docker://docker.io/library/redis:7"],
    ["docker://127.0.0.1:5055/check/app#v1", "docker://127.0.0.1:5055/check/app:v1"],
    [`docker:///user/image@sha256#${hex}`, `docker://docker.io/user/image@sha256:${hex}`],
    [`docker:///user/image#tag@sha256:${hex}`, `docker://docker.io/user/image@sha256:${hex}`],
  ])("%s is %s to skopeo", (rootFs, skopeo) => {
    expect(skopeoReference(parseRootFS(rootFs))).toBe(skopeo);
  });
  it.each([
    "preloaded:cflinuxfs4",
    "docker://",
    "docker:///",
    "docker:///a/b#x y",
    "docker:///a/b@sha256#xyz",
    `docker:///a/b#t@sha256:${hex}0`,
  ])("%s is refused", (rootFs) => {
    expect(() => parseRootFS(rootFs)).toThrow();
  });
  it("are pinned to a digest, and say which registry they need", () => {
    expect(pinRootFS("docker://127.0.0.1:5055/check/app#v1", `sha256:${hex}`)).toBe(
      `docker://127.0.0.1:5055/check/app@sha256#${hex}`,
    );
    expect(registryOf(parseRootFS("docker:///redis"))).toBe("docker.io");
    expect(displayImage(parseRootFS("docker:///redis"))).toBe("library/redis:latest");
    expect(displayImage(parseRootFS("docker://127.0.0.1:5055/check/app#v1"))).toBe("127.0.0.1:5055/check/app:v1");
  });
});
