// Cutting reasons (bbs-semantics.md 1.2).
import { describe, expect, it } from "vitest";
import { truncateReason } from "./limits.js";

describe("a reason", () => {
  it.each([
    { of: "is kept below 1,024 bytes", reason: "x".repeat(1_023), becomes: "x".repeat(1_023) },
    { of: "is cut at exactly 1,024 bytes", reason: "x".repeat(1_024), becomes: `${"x".repeat(1_013)}(truncated)` },
    { of: "is cut beyond", reason: "x".repeat(5_000), becomes: `${"x".repeat(1_013)}(truncated)` },
    { of: "counts bytes, not characters", reason: "é".repeat(511), becomes: "é".repeat(511) },
    // 1,013 bytes end within the 507th é, the 338th €, the 254th ship.
    { of: "never splits é", reason: "é".repeat(512), becomes: `${"é".repeat(506)}(truncated)` },
    { of: "never splits €", reason: "€".repeat(400), becomes: `${"€".repeat(337)}(truncated)` },
    { of: "never splits a ship", reason: "🚢".repeat(300), becomes: `${"🚢".repeat(253)}(truncated)` },
    { of: "may be empty", reason: "", becomes: "" },
  ])("$of", ({ reason, becomes }) => {
    expect(truncateReason(reason)).toBe(becomes);
  });
});
