// Every message of Diego's against bytes that none of our code made: read by our decoder and written by our encoder, and likewise by the
// codec that the rest of this suite speaks with.
import * as actions from "@muster/proto/models/actions";
import * as actualLRP from "@muster/proto/models/actual_lrp";
import * as actualLRPRequests from "@muster/proto/models/actual_lrp_requests";
import * as cachedDependency from "@muster/proto/models/cached_dependency";
import * as cells from "@muster/proto/models/cells";
import * as certificateProperties from "@muster/proto/models/certificate_properties";
import * as checkDefinition from "@muster/proto/models/check_definition";
import * as desiredLRP from "@muster/proto/models/desired_lrp";
import * as desiredLRPRequests from "@muster/proto/models/desired_lrp_requests";
import * as domain from "@muster/proto/models/domain";
import * as environmentVariables from "@muster/proto/models/environment_variables";
import * as error from "@muster/proto/models/error";
import * as evacuation from "@muster/proto/models/evacuation";
import * as events from "@muster/proto/models/events";
import * as file from "@muster/proto/models/file";
import * as imageLayer from "@muster/proto/models/image_layer";
import * as logRateLimit from "@muster/proto/models/log_rate_limit";
import * as metricTags from "@muster/proto/models/metric_tags";
import * as modificationTag from "@muster/proto/models/modification_tag";
import * as network from "@muster/proto/models/network";
import * as ping from "@muster/proto/models/ping";
import * as securityGroup from "@muster/proto/models/security_group";
import * as sidecar from "@muster/proto/models/sidecar";
import * as task from "@muster/proto/models/task";
import * as taskRequests from "@muster/proto/models/task_requests";
import * as volumeMount from "@muster/proto/models/volume_mount";
import { describe, expect, it } from "vitest";
import { decode, encode, type Message } from "../../support/diego-codec.js";
import { readGolden } from "../../support/diego-golden.js";
import { type SchemaField, scalarTypes, schema } from "../../support/diego-schema.js";
import { parseText } from "../../support/diego-text.js";
import { field, fieldsOf, type WireField } from "../../support/wire-bytes.js";

interface Codec {
  decode(bytes: Uint8Array): object;
  encode(message: object): { finish(): Uint8Array };
}

const codecs: Readonly<Record<string, Codec>> = Object.assign(
  {},
  ...[actions, actualLRP, actualLRPRequests, cachedDependency, cells, certificateProperties, checkDefinition, desiredLRP],
  ...[desiredLRPRequests, domain, environmentVariables, error, evacuation, events, file, imageLayer, logRateLimit, metricTags],
  ...[modificationTag, network, ping, securityGroup, sidecar, task, taskRequests, volumeMount],
);

const codecOf = (type: string): Codec => {
  const found = codecs[type];
  if (found === undefined) throw new Error(`there is no codec for ${type}`);
  return found;
};

// --- what our decoder made of it, by the reference's names

const squeezed = (name: string): string => name.replaceAll("_", "").toLowerCase();

interface Oneof {
  readonly $case: string;
  readonly value: unknown;
}
const isOneof = (value: unknown): value is Oneof => typeof value === "object" && value !== null && "$case" in value;

function memberOf(message: object, name: string): unknown {
  for (const [key, value] of Object.entries(message)) {
    if (isOneof(value)) {
      if (squeezed(value.$case) === squeezed(name)) return value.value;
    } else if (squeezed(key) === squeezed(name)) return value;
  }
  return undefined;
}

/** Fields that hold nothing are left out, as in the text. */
function plainOf(type: string, message: object): Message {
  const made: Message = {};
  for (const of of schema.get(type)?.values() ?? []) {
    const value = memberOf(message, of.name);
    const held = value === undefined ? undefined : plainField(of, value);
    if (held !== undefined) made[of.name] = held;
  }
  return made;
}

function plainField(of: SchemaField, value: unknown): unknown {
  const plain = (one: unknown): unknown => (scalarTypes.has(of.type) ? one : plainOf(of.type, one as object));
  if (of.kind === "repeated") return (value as unknown[]).length === 0 ? undefined : (value as unknown[]).map(plain);
  if (of.kind === "map") {
    const entries = Object.entries(value as object).map(([key, one]) => [key, plain(one)]);
    return entries.length === 0 ? undefined : Object.fromEntries(entries);
  }
  const isDefault = value === "" || value === 0 || value === 0n || value === false;
  return isDefault && !of.oneof ? undefined : plain(value);
}

// --- what nobody knows

/** Unknown fields before, after and, in every nested message, within. */
function withUnknown(type: string, bytes: Buffer): Buffer {
  const known = schema.get(type);
  const nested = ({ number, value }: WireField): Buffer => {
    const of = known?.get(number);
    if (!Buffer.isBuffer(value)) return field(number).int(value);
    const isMessage = of !== undefined && of.kind !== "map" && !scalarTypes.has(of.type);
    return field(number).bytes(isMessage ? withUnknown(of.type, value) : value);
  };
  return Buffer.concat([field(200).string("unknown"), ...fieldsOf(bytes).map(nested), field(536_870_911).int(-1)]);
}

const golden = readGolden("messages");

it("there is every message, with every field", () => {
  const full = golden.filter(({ name }) => name === "full");
  expect(full.map(({ type }) => type).sort()).toEqual([...schema.keys()].sort());
  for (const { type, bytes } of full) {
    expect([...new Set(fieldsOf(bytes).map(({ number }) => number))], type).toEqual([...(schema.get(type)?.keys() ?? [])]);
  }
});

describe.each(golden)("$type, $name", ({ type, name, text, bytes }) => {
  const said = parseText(type, text);

  it("is read as what it says", () => {
    expect(plainOf(type, codecOf(type).decode(bytes))).toEqual(said);
  });

  it("is written to the byte, also when it came with fields that nobody knows", () => {
    const codec = codecOf(type);
    const again = (from: Buffer): string => Buffer.from(codec.encode(codec.decode(from)).finish()).toString("hex");
    expect(again(bytes)).toBe(bytes.toString("hex"));
    expect(again(withUnknown(type, bytes))).toBe(bytes.toString("hex"));
  });

  it("is the same to the suite's own codec", () => {
    expect(encode(type, said).toString("hex")).toBe(bytes.toString("hex"));
    // It refuses what Diego never writes: a message without those that are always within.
    if (name !== "zero") expect(decode(type, bytes)).toEqual(said);
  });
});
