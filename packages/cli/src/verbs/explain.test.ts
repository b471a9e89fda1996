// What explain takes.
import { expect, it } from "vitest";
import { UsageError } from "../exit.js";
import { parseTarget } from "./explain.js";

it("a target is an app, or one of its instances", () => {
  expect(parseTarget("web")).toEqual({ name: "web", index: undefined });
  expect(parseTarget("web/2")).toEqual({ name: "web", index: 2 });
  expect(() => parseTarget("web/x")).toThrow(UsageError);
});
