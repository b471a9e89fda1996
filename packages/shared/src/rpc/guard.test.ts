// Requests as nobody sends them by mistake: each is refused before it is decoded, and nothing else is.
import { Action } from "@muster/proto/models/actions";
import { DesireLRPRequest } from "@muster/proto/models/desired_lrp_requests";
import { UpsertDomainRequest } from "@muster/proto/models/domain";
import { ReportRequest } from "@muster/proto/muster/v1/report";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { isBbsError } from "../errors/index.js";
import { checkMessage, decodeRequest, guardedDecoder, maxFields, maxNesting, Undecodable } from "./guard.js";

const bytesOf = (...parts: (number[] | string)[]): Buffer => Buffer.concat(parts.map((part) => Buffer.from(part as never)));
/** A length-delimited field with a small number. */
const field = (number: number, content: Buffer): Buffer => {
  const length: number[] = [];
  for (let rest = content.byteLength; ; rest = Math.floor(rest / 128)) {
    if (rest < 128) {
      length.push(rest);
      break;
    }
    length.push((rest % 128) + 128);
  }
  return Buffer.concat([Buffer.from([number * 8 + 2, ...length]), content]);
};
/** An action within so many others (field 6 is a try, its field 1 an action): two messages a turn. */
function nested(turns: number): Buffer {
  let bytes: Buffer = Buffer.from(Action.encode(Action.fromPartial({ runAction: { path: "x", user: "y" } })).finish());
  for (let turn = 0; turn < turns; turn += 1) bytes = field(6, field(1, bytes));
  return bytes;
}

const whyOf = (run: () => void): unknown => {
  try {
    run();
  } catch (error) {
    if (isBbsError(error, "InvalidRequest")) return error.facts.why;
    throw error;
  }
  return undefined;
};

const desire = DesireLRPRequest.encode(
  DesireLRPRequest.fromPartial({
    desiredLrp: {
      processGuid: "guid",
      domain: "größe",
      instances: -1,
      ports: [8080, 65_535],
      action: { runAction: { path: "/bin/x", user: "v", env: [{ name: "A", value: "b" }] } },
      metricTags: { source_id: { static: "app" } },
      routes: { routes: { router: Buffer.from([0xff, 0xfe]) } },
    },
  } as never),
).finish();

describe("the guard", () => {
  it("passes what our encoders write, text beyond ASCII, opaque bytes and negative numbers included", () => {
    expect(decodeRequest(DesireLRPRequest, desire)).toEqual(DesireLRPRequest.decode(desire));
    expect(decodeRequest(DesireLRPRequest, Buffer.alloc(0))).toEqual({ desiredLrp: undefined });
  });

  const name = "models.UpsertDomainRequest";
  it.each([
    { what: "a string that is not UTF-8", bytes: [0x0a, 2, 0x61, 0xff], why: "a string is not UTF-8" },
    { what: "a surrogate spelt in UTF-8", bytes: [0x0a, 3, 0xed, 0xa0, 0x80], why: "a string is not UTF-8" },
    { what: "a string cut off", bytes: [0x0a, 5, 0x61], why: "a length reaches past the end" },
    { what: "a length of 4 GiB", bytes: [0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f], why: "a length reaches past the end" },
    { what: "a length of more than 32 bits", bytes: [0x0a, 0xff, 0xff, 0xff, 0xff, 0x7f], why: "a tag or length is too large" },
    { what: "a tag without its field", bytes: [0x0a], why: "a number is cut off" },
    { what: "field 0", bytes: [0x00], why: "there is no field 0" },
    { what: "wire type 6", bytes: [0x1e], why: "there is no such wire type" },
    { what: "a string as a number", bytes: [0x08, 1], why: "a field has the wrong wire type" },
    { what: "a number as a double", bytes: [0x11, 1, 2, 3, 4, 5, 6, 7, 8], why: "a field has the wrong wire type" },
    { what: "a number of 11 bytes", bytes: [0x10, ...Array(10).fill(0xff), 1], why: "a number has more than 64 bits" },
    { what: "a number of 65 bits", bytes: [0x10, ...Array(9).fill(0xff), 2], why: "a number has more than 64 bits" },
    { what: "an end of no group", bytes: [0x1c], why: "a group ends that did not begin" },
    { what: "a group that another one ends", bytes: [0x1b, 0x24], why: "a group ends that did not begin" },
    { what: "a group without end", bytes: [0x1b], why: "a group does not end" },
    { what: "an unknown double cut off", bytes: [0x19, 1, 2], why: "a number is cut off" },
  ])("refuses $what", ({ bytes, why }) => {
    expect(whyOf(() => checkMessage(name, Buffer.from(bytes)))).toBe(why);
    expect(() => decodeRequest(UpsertDomainRequest, Buffer.from(bytes))).toThrow("the request received is invalid");
  });

  it("skips fields and groups it does not know", () => {
    const unknown = bytesOf([0x18, 1, 0x23, 0x2b, 0x2c, 0x24, 0x32, 2, 0xff, 0xff], [0x0a, 1, 0x61]);
    expect(decodeRequest(UpsertDomainRequest, unknown).domain).toBe("a");
  });

  it("refuses a field that ends after the message it is in, although its bytes are there", () => {
    // The key's process guid claims three bytes, its message has room for two; the decoder would read on in the next field.
    const lying = bytesOf([0x0a, 4, 0x0a, 3, 0x61, 0x62], [0x12, 1, 0x63]);
    expect(whyOf(() => checkMessage("models.StartActualLRPRequest", lying))).toBe("a length reaches past the end");
  });

  it("takes both packed and single numbers", () => {
    const ports = (bytes: number[]): readonly number[] =>
      decodeRequest(DesireLRPRequest, field(1, Buffer.from(bytes))).desiredLrp?.ports ?? [];
    const shape = DesireLRPRequest.encode(DesireLRPRequest.fromPartial({ desiredLrp: { ports: [7] } } as never)).finish();
    const number = (shape[2] as number) >> 3;
    expect(ports([number * 8, 7, number * 8, 9])).toEqual([7, 9]);
    expect(ports([number * 8 + 2, 3, 7, 0x80, 1])).toEqual([7, 128]);
    expect(whyOf(() => ports([number * 8 + 2, 2, 7, 0x80]))).toBe("a number is cut off");
  });

  it("allows what is nested sensibly and refuses ten thousand levels", () => {
    const deepest = (maxNesting - 2) / 2;
    expect(whyOf(() => decodeRequest(Action as never, nested(deepest)))).toBeUndefined();
    expect(whyOf(() => decodeRequest(Action as never, nested(deepest + 1)))).toBe(`messages nest deeper than ${maxNesting}`);
    expect(whyOf(() => checkMessage("models.Action", nested(10_000)))).toBe(`messages nest deeper than ${maxNesting}`);
    const groups = Buffer.alloc(4 * 1024 * 1024, 0x1b);
    expect(whyOf(() => checkMessage(name, groups))).toBe(`messages nest deeper than ${maxNesting}`);
  });

  it("refuses four megabytes of empty messages, which would become a hundred times as many bytes", () => {
    const empties = Buffer.alloc(2 * maxFields + 2);
    for (let at = 0; at < empties.byteLength; at += 2) empties[at] = 0x0a;
    expect(whyOf(() => checkMessage("muster.v1.RepairRequest", empties))).toBe(`more than ${maxFields} fields`);
  });

  it("never lets anything but InvalidRequest out, whatever the bytes", () => {
    const codecs = [DesireLRPRequest, UpsertDomainRequest, ReportRequest];
    const mutated = fc
      .tuple(fc.nat(desire.length - 1), fc.nat(255), fc.nat(desire.length))
      .map(([at, byte, end]) => Buffer.from(desire.map((old, index) => (index === at ? byte : old))).subarray(0, end));
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array({ maxLength: 64 }), mutated), fc.constantFrom(...codecs), (bytes, codec) => {
        try {
          decodeRequest(codec as typeof UpsertDomainRequest, bytes);
        } catch (error) {
          expect(isBbsError(error, "InvalidRequest")).toBe(true);
        }
      }),
      { seed: 7, numRuns: 5_000 },
    );
  });

  it("stands before an rpc's decoder without throwing, and leaves strangers alone", () => {
    const decode = guardedDecoder("/muster.v1.BBSService/UpsertDomain", (bytes: Buffer) => UpsertDomainRequest.decode(bytes));
    expect(decode(Buffer.from([0x0a, 1, 0x61]))).toMatchObject({ domain: "a" });
    expect(decode(Buffer.from([0x0a, 1, 0xff]))).toBeInstanceOf(Undecodable);
    expect(guardedDecoder("/test.Echo/Echo", String)(Buffer.from([0xff]))).toBe("�");
  });
});
