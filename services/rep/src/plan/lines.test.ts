// Cutting output into log lines.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { LineSplitter, maxLineBytes, utf8Cut } from "./lines.js";

function split(chunks: readonly Uint8Array[], limit?: number): Buffer[] {
  const lines: Buffer[] = [];
  const splitter = new LineSplitter((line) => lines.push(Buffer.from(line)), limit);
  for (const chunk of chunks) splitter.write(chunk);
  splitter.flush();
  return lines;
}
const texts = (lines: readonly Buffer[]): string[] => lines.map(String);

describe("log lines", () => {
  it.each([
    { input: ["one\ntwo\n"], lines: ["one", "two"] },
    { input: ["one\r\ntwo\rthree"], lines: ["one", "two", "three"] },
    { input: ["\n\n\n"], lines: [] },
    { input: ["par", "tly", " here\nre", "st"], lines: ["partly here", "rest"] },
    { input: [""], lines: [] },
  ])("$input become $lines", ({ input, lines }) => {
    expect(texts(split(input.map((text) => Buffer.from(text))))).toEqual(lines);
  });

  it("gives an unfinished line only when flushed", () => {
    const lines: string[] = [];
    const splitter = new LineSplitter((line) => lines.push(Buffer.from(line).toString()));
    splitter.write(Buffer.from("tail"));
    expect(lines).toEqual([]);
    splitter.flush();
    expect(lines).toEqual(["tail"]);
  });

  it("are cut at 61,440 bytes, on the edge of a character", () => {
    const lines = split([Buffer.from("é".repeat(40_000))]);
    expect(lines.map((line) => line.length)).toEqual([61_440, 18_560]);
    const odd = split([Buffer.from(`x${"é".repeat(40_000)}`)]);
    expect(odd[0]?.length).toBe(maxLineBytes - 1);
    expect(odd.map((line) => line.toString().includes("\uFFFD"))).toEqual([false, false]);
  });

  it("cuts what is no UTF-8 anywhere", () => {
    expect(utf8Cut(new Uint8Array(20).fill(0x80), 10)).toBe(10);
  });

  it("lose no byte but line ends, split no character and keep the bound, whatever the chunks", () => {
    const text = fc.string({ unit: fc.constantFrom("a", "é", "€", "😀", "\n", "\r"), maxLength: 40 });
    fc.assert(
      fc.property(fc.array(text, { maxLength: 6 }), fc.integer({ min: 4, max: 30 }), (parts, limit) => {
        const bytes = Buffer.from(parts.join(""));
        const lines = split(
          parts.map((part) => Buffer.from(part)),
          limit,
        );
        const kept = bytes.filter((byte) => byte !== 0x0a && byte !== 0x0d);
        const whole = lines.every((line) => line.length <= limit && !line.toString().includes("\uFFFD"));
        return whole && Buffer.concat(lines).equals(kept);
      }),
    );
  });
});
