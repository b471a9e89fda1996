// Our .proto files against the wire reference: every message and field of Diego's under its number, name, type and label, in both
// directions. What is ours starts at 100.
import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { schema } from "../../support/diego-schema.js";

interface Field {
  readonly number: number;
  readonly text: string;
}

const folder = fileURLToPath(new URL("../../../proto/models/", import.meta.url));
const scalar = /^(string|bytes|bool|u?int(32|64))$/;

/** `name type` with `[]` for repeated, `{}` for a map, `?` for a oneof's member; `enum` for any enum; `unpacked` where it is said. */
function parse(body: string, enums: ReadonlySet<string>): Field[] {
  const fields: Field[] = [];
  let inOneof = false;
  for (const line of body.split("\n").map((one) => one.replace(/\/\/.*/, "").trim())) {
    if (line.startsWith("oneof ")) inOneof = true;
    else if (line === "}") inOneof = false;
    const found = /^(repeated )?(map<string, (\w+)>|[\w.]+) (\w+) = (\d+)( \[.*\])?;$/.exec(line);
    if (found === null) continue;
    const [, repeated, type = "", valueType, name = "", number = "", options = ""] = found;
    const plain = (valueType ?? type).split(".").at(-1) ?? "";
    const kind = scalar.test(plain) ? plain : enums.has(plain) ? "enum" : plain;
    const shape = valueType === undefined ? (repeated === undefined ? kind : `${kind}[]`) : `{${kind}}`;
    const numbers = repeated !== undefined && scalar.test(plain) && plain !== "string";
    if (numbers && !options.includes("packed = false")) throw new Error(`${name} is packed`);
    fields.push({ number: Number(number), text: `${name} ${shape}${inOneof ? "?" : ""}` });
  }
  return fields;
}

const files = readdirSync(folder).filter((name) => name.endsWith(".proto") && name !== "locket.proto");
const texts = files.map((name) => readFileSync(`${folder}${name}`, "utf8"));
const enums = new Set(texts.flatMap((text) => [...text.matchAll(/^ *enum (\w+) \{/gm)].map(([, name = ""]) => name)));
const ours = new Map(
  texts.flatMap((text) =>
    [...text.matchAll(/^message (\w+) \{\n([\s\S]*?)^\}|^message (\w+) \{\}/gm)].map(
      ([, name, body = "", empty]): [string, Field[]] => [name ?? empty ?? "", parse(body, enums)],
    ),
  ),
);

const byNumber = (one: Field, other: Field): number => one.number - other.number;

describe("a message of Diego's", () => {
  it("is one of 118, with 442 fields", () => {
    expect([schema.size, [...schema.values()].reduce((sum, fields) => sum + fields.size, 0)]).toEqual([118, 442]);
  });

  it.each([...schema.keys()])("%s is ours to the last field", (name) => {
    const theirs = [...(schema.get(name)?.values() ?? [])].map(({ number, name: of, type, kind, oneof }): Field => {
      const shape = kind === "repeated" ? `${type}[]` : kind === "map" ? `{${type}}` : type;
      return { number, text: `${of} ${shape}${oneof ? "?" : ""}` };
    });
    const found = ours.get(name)?.filter(({ number }) => number < 100);
    expect(found?.sort(byNumber)).toEqual(theirs.sort(byNumber));
  });

  it("is the only kind there is in the package models, but for what starts at 100", () => {
    const added = [...ours].flatMap(([name, fields]) =>
      fields.filter(({ number }) => number >= 100).map(({ text }) => `${name}.${text}`),
    );
    expect(added).toEqual(["Action.inspect_image_action InspectImageAction"]);
    expect([...ours.keys()].filter((name) => !schema.has(name))).toEqual(["InspectImageAction"]);
  });
});

const enumValues: readonly (readonly [string, string])[] = [
  ["ActualLRPNetInfo.PreferredAddress", "0 UNKNOWN, 1 INSTANCE, 2 HOST"],
  ["ActualLRP.Presence", "0 ORDINARY, 1 EVACUATING, 2 SUSPECT"],
  ["DesiredLRP.UpdateStrategy", "0 ROLLING, 1 RECREATE"],
  [
    "Error.Type",
    "0 UnknownError, 3 InvalidRecord, 4 InvalidRequest, 5 InvalidResponse, 6 InvalidProtobufMessage, 7 InvalidJSON, 8 FailedToOpenEnvelope, 9 InvalidStateTransition, 11 ResourceConflict, 12 ResourceExists, 13 ResourceNotFound, 14 RouterError, 15 ActualLRPCannotBeClaimed, 16 ActualLRPCannotBeStarted, 17 ActualLRPCannotBeCrashed, 18 ActualLRPCannotBeFailed, 19 ActualLRPCannotBeRemoved, 21 ActualLRPCannotBeUnclaimed, 24 RunningOnDifferentCell, 26 GUIDGeneration, 27 Deserialize, 28 Deadlock, 29 Unrecoverable, 30 LockCollision, 31 Timeout",
  ],
  ["ImageLayer.DigestAlgorithm", "0 DigestAlgorithmInvalid, 1 SHA256, 2 SHA512"],
  ["ImageLayer.MediaType", "0 MediaTypeInvalid, 1 TGZ, 2 TAR, 3 ZIP"],
  ["ImageLayer.Type", "0 LayerTypeInvalid, 1 SHARED, 2 EXCLUSIVE"],
  ["MetricTagValue.DynamicValue", "0 DynamicValueInvalid, 1 INDEX, 2 INSTANCE_GUID"],
  ["Task.State", "0 Invalid, 1 Pending, 2 Running, 3 Completed, 4 Resolving"],
];

describe("an enum of Diego's", () => {
  it.each(enumValues)("%s has its values", (name, values) => {
    const [outer = "", short = ""] = name.split(".");
    // The enum of that name within its message, or within the file where the name is its own.
    const message = texts
      .map((text) => new RegExp(`^message ${outer} \\{\n[\\s\\S]*?^\\}`, "m").exec(text)?.[0])
      .find((one) => one !== undefined);
    const body = new RegExp(`enum ${short} \\{([^}]*)\\}`).exec(message ?? "")?.[1] ?? "";
    const found = [...body.matchAll(/^ *(\w+) = (\d+)/gm)].map(([, of, number]) => `${number} ${of}`);
    expect(found.join(", ")).toBe(values);
  });
});
