// Requests to be wary of, drawn from a seed: messages made along the schema, most of them sensible, and what can go wrong with bytes.
import { shapes } from "@muster/proto/shapes";
import type { Entropy } from "@muster/shared/clock";

/** Names that fit together often enough for a request to get past the first check. */
const words = [
  "guid-1",
  "guid-2",
  "guid-3",
  "cell-1",
  "cell-1",
  "apps",
  "i-1",
  "preloaded:busybox",
  "docker:///a/b",
  "vcap",
  "/bin/x",
];
const strange = ["", "ä€😀", "\u0000", "../../etc", "x".repeat(300), "a b", "{}", "-1", "\u202e", "true"];
const numbers = [
  0n,
  1n,
  2n,
  3n,
  5n,
  8080n,
  65_536n,
  2n ** 31n - 1n,
  2n ** 31n,
  2n ** 32n,
  2n ** 63n - 1n,
  2n ** 63n,
  2n ** 64n - 1n,
];

const pick = <Item>(entropy: Entropy, items: readonly Item[]): Item => items[entropy.below(items.length)] as Item;

export function varint(value: bigint): Buffer {
  const bytes: number[] = [];
  for (let rest = value; ; rest >>= 7n) {
    if (rest < 128n) return Buffer.from([...bytes, Number(rest)]);
    bytes.push(Number(rest & 127n) | 128);
  }
}

const tag = (number: number, wire: number): Buffer => varint(BigInt(number * 8 + wire));
const delimited = (number: number, content: Buffer): Buffer =>
  Buffer.concat([tag(number, 2), varint(BigInt(content.byteLength)), content]);

const text = (entropy: Entropy): Buffer => Buffer.from(entropy.below(12) === 0 ? pick(entropy, strange) : pick(entropy, words));
const number = (entropy: Entropy): bigint => (entropy.below(6) === 0 ? pick(entropy, numbers) : BigInt(entropy.below(4)));

/** A well-formed message of this name, of random content. */
export function wellFormed(entropy: Entropy, name: string, depth = 0): Buffer {
  const parts: Buffer[] = [];
  for (const [field, kind] of Object.entries(shapes[name] ?? {})) {
    // Deeper messages are sparser, or they would have no end.
    if (entropy.below(10) < (depth === 0 ? 1 : 2 + depth)) continue;
    const times = entropy.below(8) === 0 ? 2 : 1;
    for (let time = 0; time < times; time += 1) {
      if (kind === "string") parts.push(delimited(Number(field), text(entropy)));
      else if (kind === "bytes") parts.push(delimited(Number(field), Buffer.from("[1]")));
      else if (kind === 0) parts.push(tag(Number(field), 0), varint(number(entropy)));
      else if (kind === 1) parts.push(tag(Number(field), 1), Buffer.alloc(8, entropy.below(256)));
      else if (kind === 5) parts.push(tag(Number(field), 5), Buffer.alloc(4, entropy.below(256)));
      else if (depth < 8) parts.push(delimited(Number(field), wellFormed(entropy, String(kind), depth + 1)));
    }
  }
  return Buffer.concat(parts);
}

const randomBytes = (entropy: Entropy, length: number): Buffer => Buffer.from(Array.from({ length }, () => entropy.below(256)));

type Harm = (entropy: Entropy, bytes: Buffer, other: Buffer) => Buffer;

/** What may happen to bytes. `other` is another message's. */
const harms: Readonly<Record<string, Harm>> = {
  flip: (entropy, bytes) => {
    const harmed = Buffer.from(bytes);
    for (let flips = 1 + entropy.below(4); flips > 0 && harmed.length > 0; flips -= 1) {
      const at = entropy.below(harmed.length);
      harmed[at] = (harmed[at] as number) ^ (1 << entropy.below(8));
    }
    return harmed;
  },
  truncate: (entropy, bytes) => bytes.subarray(0, entropy.below(bytes.length + 1)),
  splice: (entropy, bytes, other) =>
    Buffer.concat([bytes.subarray(0, entropy.below(bytes.length + 1)), other.subarray(entropy.below(other.length + 1))]),
  insert: (entropy, bytes) => {
    const at = entropy.below(bytes.length + 1);
    return Buffer.concat([bytes.subarray(0, at), randomBytes(entropy, 1 + entropy.below(8)), bytes.subarray(at)]);
  },
  "length lies": (entropy, bytes) => {
    const harmed = Buffer.from(bytes);
    if (harmed.length > 1)
      harmed[1] = pick(entropy, [0, 1, 127, 128, 255, (harmed[1] as number) + 1, (harmed[1] as number) - 1]) & 255;
    return harmed;
  },
  "huge length": (entropy, bytes) =>
    Buffer.concat([bytes, tag(1 + entropy.below(12), 2), varint(pick(entropy, numbers)), randomBytes(entropy, 4)]),
  "endless varint": (entropy, bytes) =>
    Buffer.concat([bytes, tag(1 + entropy.below(12), 0), Buffer.alloc(9 + entropy.below(4), 0xff)]),
  "not UTF-8": (entropy, bytes) => Buffer.concat([bytes, delimited(1 + entropy.below(12), Buffer.from([0xc3, 0x28, 0xff]))]),
  "unknown fields": (entropy, bytes) =>
    Buffer.concat([
      bytes,
      delimited(500 + entropy.below(100_000), randomBytes(entropy, 8)),
      tag(499, 0),
      varint(number(entropy)),
    ]),
  groups: (entropy, bytes) => {
    const depth = 1 + entropy.below(5_000);
    return Buffer.concat([
      bytes,
      ...Array<Buffer>(depth).fill(tag(3, 3)),
      ...Array<Buffer>(entropy.below(depth + 1)).fill(tag(3, 4)),
    ]);
  },
  nesting: (entropy, bytes) => {
    const deep: Buffer[] = [];
    let length = 0;
    // From the inside out: each turn a tag, and the length of all that is within.
    for (let turn = entropy.below(20_000); turn > 0; turn -= 1) {
      const head = Buffer.concat([tag(pick(entropy, [1, 4, 6, 8]), 2), varint(BigInt(length))]);
      deep.push(head);
      length += head.byteLength;
    }
    return Buffer.concat([bytes, ...deep.reverse()]);
  },
  "fields again": (_entropy, bytes, other) => Buffer.concat([bytes, bytes, other]),
  noise: (entropy) => randomBytes(entropy, entropy.below(200)),
  none: (_entropy, bytes) => bytes,
};
const harmNames = Object.keys(harms);

export interface Request {
  readonly bytes: Buffer;
  /** What was done to it, for the report. */
  readonly harm: string;
}

/** A request of this name; three in ten are as they should be, some harmed more than once. */
export function drawRequest(entropy: Entropy, name: string): Request {
  let bytes = wellFormed(entropy, name);
  const done: string[] = [];
  for (let times = entropy.below(10) < 3 ? 0 : 1 + entropy.below(2); times > 0; times -= 1) {
    const harm = pick(entropy, harmNames);
    bytes = (harms[harm] as Harm)(entropy, bytes, wellFormed(entropy, name));
    done.push(harm);
  }
  return { bytes, harm: done.join(", ") || "none" };
}
