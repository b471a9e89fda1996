// Protobuf's text form -> plain objects, by the reference's own schema (diego-schema.ts). As much of the form as the golden files use:
// `name: value`, `name { … }`, strings with escapes, numbers, true and false, comments; enums as numbers.
import type { Message } from "./diego-codec.js";
import { type SchemaField, scalarTypes, schema } from "./diego-schema.js";

const token = /\s+|#[^\n]*|([A-Za-z_]\w*)|(-?\d+)|("(?:[^"\\]|\\.)*")|([{}:])|[,;]/gy;

type Token = { readonly kind: "name" | "number" | "string" | "mark"; readonly text: string };

function* tokensOf(text: string): Generator<Token> {
  token.lastIndex = 0;
  while (token.lastIndex < text.length) {
    const at = token.lastIndex;
    const found = token.exec(text);
    if (found === null) throw new Error(`no protobuf text: ${text.slice(at, at + 40)}`);
    const [, name, number, string, mark] = found;
    if (name !== undefined) yield { kind: "name", text: name };
    else if (number !== undefined) yield { kind: "number", text: number };
    else if (string !== undefined) yield { kind: "string", text: JSON.parse(string) as string };
    else if (mark !== undefined) yield { kind: "mark", text: mark };
  }
}

/** Reads one message. @throws for what is no text form of that message */
export function parseText(name: string, text: string): Message {
  const tokens = [...tokensOf(text)];
  let at = 0;
  const next = (): Token | undefined => {
    at += 1;
    return tokens[at - 1];
  };
  const fieldOf = (type: string, field: string): SchemaField => {
    const found = [...(schema.get(type)?.values() ?? [])].find((one) => one.name === field);
    if (found === undefined) throw new Error(`${type} has no field ${field}`);
    return found;
  };
  const isOpen = (): boolean => tokens[at]?.kind === "mark" && tokens[at]?.text === "{";
  const value = (type: string): unknown => {
    if (!scalarTypes.has(type)) {
      if (next()?.text !== "{") throw new Error(`a ${type} begins with {`);
      return message(type);
    }
    if (next()?.text !== ":") throw new Error(`a ${type} follows a colon`);
    return scalarOf(type, next());
  };
  const message = (type: string): Message => {
    const made: Message = {};
    for (let one = next(); one !== undefined && one.text !== "}"; one = next()) {
      const field = fieldOf(type, one.text);
      if (field.kind === "map") made[field.name] = { ...made[field.name], ...entry(field.type) };
      else if (field.kind === "repeated") made[field.name] = [...(made[field.name] ?? []), value(field.type)];
      else made[field.name] = value(field.type);
    }
    return made;
  };
  const entry = (type: string): Message => {
    if (!isOpen()) throw new Error("an entry of a map begins with {");
    next();
    const [key, colon, name] = [next(), next(), next()];
    if (key?.text !== "key" || colon?.text !== ":" || next()?.text !== "value") throw new Error("an entry has key and value");
    const made = { [name?.text ?? ""]: value(type) };
    if (next()?.text !== "}") throw new Error("an entry has nothing else");
    return made;
  };
  return message(name);
}

function scalarOf(type: string, { kind, text }: Token = { kind: "mark", text: "the end" }): unknown {
  if (type === "string" && kind === "string") return text;
  if (type === "bytes" && kind === "string") return Buffer.from(text);
  if (type === "bool" && kind === "name") return text === "true";
  if (kind !== "number") throw new Error(`no ${type}: ${text}`);
  return type === "int64" || type === "uint64" ? BigInt(text) : Number(text);
}
