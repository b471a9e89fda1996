// Places and order of mounts, and what a disk limit leaves: the pure parts.
import { describe, expect, it } from "vitest";
import { checkFiles } from "./bound-files.js";
import { diskLimit } from "./mounts.js";
import { type BindMount, checkPlace, inOrder } from "./volumes.js";

const mount = (destination: string): BindMount => ({ source: "/x", destination, readOnly: true });

describe("mounts", () => {
  it("are made from the outside in, whatever order they are asked for in", () => {
    const wanted = ["/a/b/c", "/z", "/a", "/a/b"].map(mount);
    const order = ["/a", "/z", "/a/b", "/a/b/c"];
    expect(inOrder(wanted).map(({ destination }) => destination)).toEqual(order);
    expect(inOrder([...wanted].reverse()).map(({ destination }) => destination)).toEqual(order);
  });

  it("of one place are refused, however it is spelt", () => {
    expect(() => inOrder([mount("/a"), mount("/a/")])).toThrow(/two mounts want \/a/);
  });

  it.each(["/", "", "a", "/a/../b", "/a//b", "/./a", "/proc", "/sys/fs", "/dev/shm", "/a\0b", `/${"x".repeat(5_000)}`])(
    "may not be at %j",
    (place) => {
      expect(() => checkPlace(place)).toThrow(expect.objectContaining({ code: "spec-invalid" }));
    },
  );

  it.each(["/a", "/a/b/", "/process", "/etc/x y"])("may be at %j", (place) => {
    expect(() => checkPlace(place)).not.toThrow();
  });
});

describe("bound files", () => {
  it("stand once each, and are few and small", () => {
    const file = (path: string, bytes = 0) => ({ path, content: new Uint8Array(bytes) });
    expect(() => checkFiles([file("a"), file("b/c")])).not.toThrow();
    expect(() => checkFiles([file("a"), file("a")])).toThrow(/stands twice/);
    expect(() => checkFiles([file("a", 1_048_576), file("b", 1)])).toThrow(/1048576 bytes/);
    expect(() => checkFiles(Array.from({ length: 1_001 }, (_none, at) => file(String(at))))).toThrow(/1000 and/);
  });
});

describe("a disk limit", () => {
  const mib = 1_048_576;
  it.each([
    [0, 999, undefined],
    [1, 2 * mib, "too-small"],
    [2, 2 * mib, "too-small"],
    [3, 2 * mib, { bytes: mib, inodes: 768 }],
    [10_240, 0, { bytes: 10_240 * mib, inodes: 200_000 }],
  ])("of %i MB, with an image of %i bytes, leaves %j", (diskMb, imageBytes, left) => {
    expect(diskLimit(diskMb, imageBytes)).toEqual(left);
  });
});
