// What is sealed can be opened with its key, and with nothing else.
import { createDecipheriv, createHash } from "node:crypto";
import { BbsError, OperatorError } from "@muster/shared/errors";
import { describe, expect, it } from "vitest";
import { createSealer } from "./index.js";

const keys = [
  { label: "2025", passphrase: "old words" },
  { label: "2026", passphrase: "new words" },
];
const sealer = createSealer({ keys, activeLabel: "2026" });
const plain = Buffer.from("environment: PASSWORD=hunter2");

describe("a sealer", () => {
  it.each([0, 1, 15, 16, 17, 1_024, 1_400_000])("opens what it sealed: %i bytes", (length) => {
    const bytes = Buffer.alloc(length, 7);
    expect(Buffer.from(sealer.open(sealer.seal(bytes))).equals(bytes)).toBe(true);
  });

  it("lays the bytes out as documented, so that another program could open them", () => {
    const sealed = Buffer.from(sealer.seal(plain));
    expect([sealed[0], sealed[1], sealed.toString("utf8", 2, 6)]).toEqual([2, 4, "2026"]);
    expect(sealed.length).toBe(2 + 4 + 12 + plain.length + 16);
    const key = createHash("sha256").update("new words").digest();
    const decipher = createDecipheriv("aes-256-gcm", key, sealed.subarray(6, 18)).setAuthTag(sealed.subarray(-16));
    expect(decipher.update(sealed.subarray(18, -16))).toEqual(plain);
    decipher.final();
  });

  it("shows nothing of what it sealed, and never the same bytes twice", () => {
    const many = Array.from({ length: 3_000 }, () => Buffer.from(sealer.seal(plain)));
    expect(many.some((sealed) => sealed.includes("hunter2"))).toBe(false);
    expect(new Set(many.map((sealed) => sealed.toString("hex", 6, 18))).size).toBe(3_000);
  });

  it("opens what an older key sealed, and tells which key that was", () => {
    const sealed = createSealer({ keys, activeLabel: "2025" }).seal(plain);
    expect(sealer.labelOf(sealed)).toBe("2025");
    expect(Buffer.from(sealer.open(sealed))).toEqual(plain);
  });

  it("takes labels of up to 127 bytes", () => {
    const label = "é".repeat(63);
    const long = createSealer({ keys: [{ label, passphrase: "x" }], activeLabel: label });
    expect(Buffer.from(long.open(long.seal(plain)))).toEqual(plain);
  });
});

describe("opening is refused", () => {
  const sealed = Buffer.from(sealer.seal(plain));

  it("when a key is missing, naming its label", () => {
    const without = createSealer({ keys: [{ label: "2027", passphrase: "x" }], activeLabel: "2027" });
    expect(() => without.open(sealed)).toThrow(OperatorError);
    expect(() => without.open(sealed)).toThrow('"2026"');
  });

  it("when the key with that label is another", () => {
    const other = createSealer({ keys: [{ label: "2026", passphrase: "x" }], activeLabel: "2026" });
    expect(() => other.open(sealed)).toThrow(BbsError);
  });

  it("when any one byte was altered", () => {
    for (let at = 0; at < sealed.length; at += 1) {
      const altered = Buffer.from(sealed);
      altered[at] = (altered[at] ?? 0) ^ 1;
      // The label or its length: another label, which no key has.
      const labelByte = at >= 1 && at < 6;
      expect(() => sealer.open(altered), `byte ${at}`).toThrow(labelByte ? OperatorError : BbsError);
    }
  });

  it("when it was cut anywhere", () => {
    for (let length = 0; length < sealed.length; length += 1) {
      const error = caught(() => sealer.open(sealed.subarray(0, length)));
      expect(error instanceof BbsError && error.code, `${length} bytes`).toBe("Deserialize");
    }
  });
});

describe("keys are refused", () => {
  const one = [{ label: "a", passphrase: "x" }];
  it.each([
    { of: "none at all", keys: [], activeLabel: "a", says: '"a"' },
    { of: "the active one missing", keys: one, activeLabel: "b", says: '"b"' },
    { of: "an empty label", keys: [{ label: "", passphrase: "x" }], activeLabel: "", says: "1 to 127 bytes" },
    { of: "a label of 128 bytes", keys: [{ label: "é".repeat(64), passphrase: "x" }], activeLabel: "é", says: "1 to 127 bytes" },
    { of: "a label twice", keys: [...one, ...one], activeLabel: "a", says: "two encryption keys" },
    { of: "an empty passphrase", keys: [{ label: "a", passphrase: "" }], activeLabel: "a", says: "empty passphrase" },
  ])("$of", ({ keys, activeLabel, says }) => {
    expect(() => createSealer({ keys, activeLabel })).toThrow(OperatorError);
    expect(() => createSealer({ keys, activeLabel })).toThrow(says);
  });
});

function caught(run: () => unknown): unknown {
  try {
    run();
    return undefined;
  } catch (error) {
    return error;
  }
}
