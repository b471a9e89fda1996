// Protobuf by hand: bytes built and read by field number alone, without any generated code, so that tests do not check our own
// encoder against our own decoder. The encoding: protobuf's varints, and length-delimited bytes.

/** Wire types that Diego's messages use: 0 a varint, 2 length-delimited. No message of Diego's has 32-bit or 64-bit fields. */
export interface WireField {
  readonly number: number;
  /** A varint as an unsigned 64-bit number, or the bytes of a string, map entry or nested message. */
  readonly value: bigint | Buffer;
}

/** A varint; negative numbers take ten bytes (two's complement in 64 bits). */
export function varint(value: bigint | number): Buffer {
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, BigInt(value));
  for (; rest >= 0x80n; rest >>= 7n) bytes.push(Number(rest & 0x7fn) | 0x80);
  bytes.push(Number(rest));
  return Buffer.from(bytes);
}

const tag = (number: number, wire: 0 | 2): Buffer => varint(number * 8 + wire);

/** Writers for one field, by its number: `field(1).string("x")` is `0a 01 78`. Zero and "" are written like any other value. */
export const field = (number: number) => {
  const bytes = (value: Uint8Array): Buffer => Buffer.concat([tag(number, 2), varint(value.byteLength), value]);
  const int = (value: bigint | number): Buffer => Buffer.concat([tag(number, 0), varint(value)]);
  return {
    int,
    bool: (value: boolean): Buffer => int(value ? 1 : 0),
    bytes,
    string: (value: string): Buffer => bytes(Buffer.from(value, "utf8")),
    message: (...fields: readonly Buffer[]): Buffer => bytes(Buffer.concat(fields)),
    /** An element of a `map<string, string>`. */
    entry: (key: string, value: string): Buffer => bytes(Buffer.concat([field(1).string(key), field(2).string(value)])),
    /** Numbers in the packed form, which writers of Diego's do not use and readers must accept. */
    packed: (...values: readonly number[]): Buffer => bytes(Buffer.concat(values.map(varint))),
  };
};

/** Every field in the order in which it was written. @throws for what is no protobuf, or has a wire type Diego does not use. */
export function fieldsOf(bytes: Buffer): WireField[] {
  const found: WireField[] = [];
  let at = 0;
  const next = (): bigint => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = bytes[at];
      if (byte === undefined || shift > 63n) throw new Error(`a broken varint at byte ${at} of ${bytes.toString("hex")}`);
      at += 1;
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return BigInt.asUintN(64, value);
    }
  };
  while (at < bytes.byteLength) {
    const head = Number(next());
    const [number, wire] = [head >>> 3, head & 7];
    if (wire === 0) found.push({ number, value: next() });
    else if (wire === 2) {
      const length = Number(next());
      if (at + length > bytes.byteLength) throw new Error(`field ${number} is longer than its message`);
      found.push({ number, value: bytes.subarray(at, at + length) });
      at += length;
    } else throw new Error(`field ${number} has wire type ${wire}`);
  }
  return found;
}

/** Bytes from hex with a comment on each line: everything from `#` on and all whitespace is dropped. */
export const fromCommentedHex = (text: string): Buffer =>
  Buffer.from(
    text
      .split("\n")
      .map((line) => line.replace(/#.*$/, ""))
      .join("")
      .replace(/\s/g, ""),
    "hex",
  );
