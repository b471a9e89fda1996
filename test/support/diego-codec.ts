// Plain objects <-> bytes by the reference's own schema (diego-schema.ts), for tests only. Writing writes exactly the fields an object
// names, zeros included. Reading is strict: it refuses what Diego would never write.
import { type SchemaField, type SchemaMessage, scalarTypes, schema } from "./diego-schema.js";
import { field, fieldsOf, type WireField } from "./wire-bytes.js";

/** A message by field name: numbers, bigints for 64 bits, strings, Buffers, nested messages, lists and maps. Absent is absent. */
// biome-ignore lint/suspicious/noExplicitAny: what a message holds is known to the table that asks for it, not to a type
export type Message = Record<string, any>;

function messageNamed(name: string): SchemaMessage {
  const found = schema.get(name);
  if (found === undefined) throw new Error(`Diego has no message ${name}`);
  return found;
}

/** @throws for a field Diego's message does not have. */
export function encode(name: string, message: Message): Buffer {
  const fields = [...messageNamed(name).values()];
  const unknown = Object.keys(message).find((key) => !fields.some((one) => one.name === key));
  if (unknown !== undefined) throw new Error(`${name} has no field ${unknown}`);
  return Buffer.concat(fields.flatMap((one) => encodeField(one, message[one.name])));
}

function encodeField(of: SchemaField, value: unknown): Buffer[] {
  if (value === undefined) return [];
  if (of.kind === "repeated") return (value as unknown[]).map((item) => encodeValue(of.number, of.type, item));
  if (of.kind === "single") return [encodeValue(of.number, of.type, value)];
  return Object.entries(value as Record<string, unknown>).map(([key, item]) =>
    field(of.number).message(field(1).string(key), encodeValue(2, of.type, item)),
  );
}

function encodeValue(number: number, type: string, value: unknown): Buffer {
  if (!scalarTypes.has(type)) return field(number).bytes(encode(type, value as Message));
  if (type === "string") return field(number).string(value as string);
  if (type === "bytes") return field(number).bytes(typeof value === "string" ? Buffer.from(value) : (value as Buffer));
  if (type === "bool") return field(number).bool(value as boolean);
  return field(number).int(value as number | bigint);
}

/**
 * Reads a message as Diego writes it: known fields only, in ascending order, no default of a field without presence, unpacked
 * lists, and every nested message that is always there. @throws naming the message and field that is otherwise
 */
export function decode(name: string, bytes: Buffer): Message {
  const known = messageNamed(name);
  const message: Message = {};
  let last = 0;
  for (const one of fieldsOf(bytes)) {
    const of = known.get(one.number);
    if (of === undefined) throw new Error(`${name} has no field ${one.number}`);
    if (one.number < last) throw new Error(`${name}.${of.name} comes after field ${last}`);
    last = one.number;
    decodeField(name, message, of, one);
  }
  for (const of of known.values()) if (of.always && message[of.name] === undefined) throw new Error(`${name} lacks ${of.name}`);
  return message;
}

function decodeField(name: string, message: Message, of: SchemaField, { value }: WireField): void {
  if (of.kind === "map") {
    const [key, item] = decodeEntry(of.type, value as Buffer);
    message[of.name] = { ...message[of.name], [key]: item };
  } else if (of.kind === "repeated") message[of.name] = [...(message[of.name] ?? []), decodeValue(of.type, value)];
  else {
    if (message[of.name] !== undefined) throw new Error(`${name}.${of.name} is there twice`);
    message[of.name] = decodeValue(of.type, value);
    const isDefault = value === 0n || (Buffer.isBuffer(value) && value.byteLength === 0 && scalarTypes.has(of.type));
    if (isDefault && !of.oneof) throw new Error(`${name}.${of.name} is written with its default`);
  }
}

function decodeEntry(type: string, bytes: Buffer): [string, unknown] {
  const [key, item] = [1, 2].map((number) => fieldsOf(bytes).find((one) => one.number === number)?.value);
  const empty = scalarTypes.has(type) && type !== "string" && type !== "bytes" ? 0n : Buffer.alloc(0);
  return [String(key ?? ""), decodeValue(type, item ?? empty)];
}

function decodeValue(type: string, value: bigint | Buffer): unknown {
  const isBytes = type === "string" || type === "bytes" || !scalarTypes.has(type);
  if (isBytes !== Buffer.isBuffer(value)) throw new Error(`a ${type} has the wrong wire type`);
  if (Buffer.isBuffer(value)) return type === "string" ? value.toString("utf8") : type === "bytes" ? value : decode(type, value);
  if (type === "bool") return value === 1n;
  if (type === "int64") return BigInt.asIntN(64, value);
  return type === "uint64" ? value : Number(BigInt.asIntN(64, value));
}
