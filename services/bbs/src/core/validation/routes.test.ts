// Go's compact form of a route's JSON (bbs-wire.md B.1).
import { describe, expect, it } from "vitest";
import { compactJson, compactRoutes } from "./routes.js";

const compact = (text: string): string | undefined => compactJson(Buffer.from(text))?.toString();

describe("compacting a route", () => {
  it.each([
    { from: ' { "b" : 1 ,\n\t"a" : [ 1.0 , -2E+3 , null ] } ', to: '{"b":1,"a":[1.0,-2E+3,null]}' },
    { from: '"a b"', to: '"a b"' },
    { from: '{"k": "a \\" , b\\\\" , "l" : "" }', to: '{"k":"a \\" , b\\\\","l":""}' },
    { from: '["<b>&</b>"]', to: '["\\u003cb\\u003e\\u0026\\u003c/b\\u003e"]' },
    { from: '["\u2028\u2029"]', to: '["\\u2028\\u2029"]' },
    { from: '["\u2027é🚢"]', to: '["\u2027é🚢"]' },
    { from: '["\\u003c"]', to: '["\\u003c"]' },
    { from: '{"a":1,"a":2}', to: '{"a":1,"a":2}' },
    { from: "12345678901234567890.10", to: "12345678901234567890.10" },
    { from: "null", to: "null" },
  ])("makes $to of $from", ({ from, to }) => {
    expect(compact(from)).toBe(to);
  });

  it.each(["", " ", "{", "{]", "'a'", "01", "{a:1}", "[1,]", "nul", '"\t"', "1 2", "\ufeff1"])("refuses %j", (text) => {
    expect(compact(text)).toBeUndefined();
  });

  it("keeps every byte of a long string and does not mind deep nesting", () => {
    const long = `"${"x\\n".repeat(40_000)}"`;
    expect(compact(long)).toBe(long);
    const deep = `${"[ ".repeat(5_000)}${"] ".repeat(5_000)}`;
    expect(compact(deep)).toBe(deep.replaceAll(" ", ""));
  });
});

describe("compacting routes", () => {
  it("compacts each and leaves absent ones absent", () => {
    expect(compactRoutes(undefined)).toBeUndefined();
    expect(compactRoutes({ routes: {} })).toEqual({ routes: {} });
    expect(compactRoutes({ routes: { a: Buffer.from("[ ]"), b: Buffer.from("{ }") } })).toEqual({
      routes: { a: Buffer.from("[]"), b: Buffer.from("{}") },
    });
  });

  it("refuses them all for one that is not JSON", () => {
    expect(() => compactRoutes({ routes: { a: Buffer.from("1"), b: Buffer.from("x") } })).toThrow(
      "the request received is invalid",
    );
  });
});
