// The guard before a request is decoded: walks its bytes along the schema, so that a decoder never sees what it would take wrongly.
// The generated decoders recurse without a bound, replace broken UTF-8 silently, end a message at a zero tag, and read past a length
// that lies. Everything refused here is InvalidRequest, and nothing is decoded.
import { isUtf8 } from "node:buffer";
import { requests, shapes } from "@muster/proto/shapes";
import { BbsError } from "../errors/index.js";

/** Messages within messages. A real action nests less than ten; decoding, validating and encoding all recurse as deep as this. */
export const maxNesting = 100;
/** Fields in all of a request: each may become an object of a hundred bytes, so two bytes must not buy that without end. */
export const maxFields = 200_000;

type Kind = "string" | "bytes" | number | Shape;
/** Fields by number. A class, so that a message's shape may name itself. */
class Shape {
  readonly fields = new Map<number, Kind>();
}

const compiled = new Map<string, Shape>();
const unknownShape = new Shape();

/** The shape of a message by its full name, made when first asked for. */
function shapeOf(name: string): Shape {
  const known = compiled.get(name);
  if (known !== undefined) return known;
  const described = shapes[name];
  if (described === undefined) throw new Error(`no shape is generated for ${name}`);
  const shape = new Shape();
  compiled.set(name, shape);
  for (const [number, kind] of Object.entries(described)) {
    const plain = typeof kind === "number" || kind === "string" || kind === "bytes";
    shape.fields.set(Number(number), plain ? (kind as Kind) : shapeOf(kind));
  }
  return shape;
}

const malformed = (why: string, at: number): BbsError => new BbsError("InvalidRequest", undefined, { why, at });

const varint = 0;
const fixed64 = 1;
const lengthDelimited = 2;
const startGroup = 3;
const endGroup = 4;
const fixed32 = 5;

/** One walk over one request. Recursion is bounded by `maxNesting`. */
class Walk {
  readonly #bytes: Uint8Array;
  #at = 0;
  #fields = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /** Walks fields until `end`, or until the end of the group with this field number. */
  message(shape: Shape, end: number, depth: number, group?: number): void {
    if (depth > maxNesting) throw malformed(`messages nest deeper than ${maxNesting}`, this.#at);
    while (this.#at < end) {
      const tag = this.#tag(end);
      const number = tag >>> 3;
      const wire = tag & 7;
      if (wire === endGroup) {
        if (group === number) return;
        throw malformed("a group ends that did not begin", this.#at);
      }
      this.#fields += 1;
      if (this.#fields > maxFields) throw malformed(`more than ${maxFields} fields`, this.#at);
      const kind = shape.fields.get(number);
      if (kind === undefined) this.#unknown(wire, number, end, depth);
      else this.#known(kind, wire, end, depth);
    }
    if (group !== undefined) throw malformed("a group does not end", this.#at);
  }

  #known(kind: Kind, wire: number, end: number, depth: number): void {
    if (typeof kind === "number") {
      if (wire === kind) this.#scalar(kind, end);
      else if (wire === lengthDelimited) this.#packed(kind, end);
      else throw malformed("a field has the wrong wire type", this.#at);
      return;
    }
    if (wire !== lengthDelimited) throw malformed("a field has the wrong wire type", this.#at);
    const stop = this.#length(end);
    if (kind === "string") this.#text(stop);
    else if (kind === "bytes") this.#at = stop;
    else this.message(kind, stop, depth + 1);
  }

  /** Fields of a newer version are skipped, as everywhere in protobuf. */
  #unknown(wire: number, number: number, end: number, depth: number): void {
    if (wire === lengthDelimited) this.#at = this.#length(end);
    else if (wire === startGroup) this.message(unknownShape, end, depth + 1, number);
    else if (wire === varint || wire === fixed32 || wire === fixed64) this.#scalar(wire, end);
    else throw malformed("there is no such wire type", this.#at);
  }

  #scalar(wire: number, end: number): void {
    if (wire === varint) this.#skipVarint(end);
    else {
      this.#at += wire === fixed64 ? 8 : 4;
      if (this.#at > end) throw malformed("a number is cut off", end);
    }
  }

  #packed(kind: number, end: number): void {
    const stop = this.#length(end);
    while (this.#at < stop) {
      this.#fields += 1;
      this.#scalar(kind, stop);
    }
    if (this.#fields > maxFields) throw malformed(`more than ${maxFields} fields`, this.#at);
  }

  #text(stop: number): void {
    const bytes = this.#bytes;
    for (let at = this.#at; at < stop; at += 1) {
      if ((bytes[at] as number) < 0x80) continue;
      if (isUtf8(bytes.subarray(at, stop))) break;
      throw malformed("a string is not UTF-8", at);
    }
    this.#at = stop;
  }

  /** @returns where the delimited bytes end. */
  #length(end: number): number {
    const length = this.#uint32(end);
    if (length > end - this.#at) throw malformed("a length reaches past the end", this.#at);
    return this.#at + length;
  }

  #tag(end: number): number {
    const tag = this.#uint32(end);
    if (tag >>> 3 === 0) throw malformed("there is no field 0", this.#at);
    return tag;
  }

  /** A varint that fits 32 bits: of at most five bytes. */
  #uint32(end: number): number {
    let value = 0;
    for (let shift = 0; shift < 35; shift += 7) {
      if (this.#at >= end) throw malformed("a number is cut off", end);
      const byte = this.#bytes[this.#at] as number;
      this.#at += 1;
      if (shift === 28 && byte > 0x0f) break;
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value >>> 0;
    }
    throw malformed("a tag or length is too large", this.#at);
  }

  /** Any number of up to 64 bits; negative ones take ten bytes. */
  #skipVarint(end: number): void {
    for (let count = 1; count <= 10; count += 1) {
      if (this.#at >= end) throw malformed("a number is cut off", end);
      const byte = this.#bytes[this.#at] as number;
      this.#at += 1;
      if (byte >= 0x80) continue;
      if (count === 10 && byte > 1) break;
      return;
    }
    throw malformed("a number has more than 64 bits", this.#at);
  }
}

/**
 * Refuses bytes that are not one well-formed message of this name: broken structure, wrong wire types, strings that are not UTF-8,
 * nesting beyond `maxNesting`, more than `maxFields` fields. Unknown fields pass. @throws BbsError InvalidRequest
 */
export function checkMessage(name: string, bytes: Uint8Array): void {
  new Walk(bytes).message(shapeOf(name), bytes.byteLength, 1);
}

/** A generated message: its full name and its decoder. */
export interface RequestCodec<Message> {
  readonly $type: string;
  decode(bytes: Uint8Array): Message;
}

/** Decodes a request that came from outside. @throws BbsError InvalidRequest ("the request received is invalid") and nothing else */
export function decodeRequest<Message>(codec: RequestCodec<Message>, bytes: Uint8Array): Message {
  checkMessage(codec.$type, bytes);
  try {
    return codec.decode(bytes);
  } catch (cause) {
    throw new BbsError("InvalidRequest", undefined, {}, cause);
  }
}

/** Stands where a request should be that could not be decoded; whoever takes the request throws its error. */
export class Undecodable {
  readonly error: BbsError;
  constructor(error: BbsError) {
    this.error = error;
  }
}

/**
 * Puts the guard before an rpc's decoder. It never throws: grpc-js would answer INTERNAL and say nothing of a type; the handler
 * meets an `Undecodable` instead. An rpc that is not in our proto files is left as it is.
 */
export function guardedDecoder<Message>(path: string, decode: (bytes: Buffer) => Message): (bytes: Buffer) => Message {
  const name = requests[path];
  if (name === undefined) return decode;
  return (bytes) => {
    try {
      checkMessage(name, bytes);
      return decode(bytes);
    } catch (cause) {
      const error = cause instanceof BbsError ? cause : new BbsError("InvalidRequest", undefined, {}, cause);
      return new Undecodable(error) as Message;
    }
  };
}
