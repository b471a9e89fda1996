// How many records the next page of a load asks for.
import { expect, it } from "vitest";
import { nextLimit } from "./pages.js";

const records = (count: number, bytes: number) =>
  Array.from({ length: count }, () => ({ key: Buffer.alloc(20), value: Buffer.alloc(bytes) }));

it.each([
  { what: "small", page: records(256, 0), atLeast: 10_000, atMost: 10_000 },
  { what: "of a kilobyte", page: records(256, 1_000), atLeast: 1_900, atMost: 2_100 },
  { what: "as large as may be", page: records(1, 1_500_000), atLeast: 1, atMost: 1 },
])("after a page of records that are $what the next aims at 2 MiB", ({ page, atLeast, atMost }) => {
  expect(nextLimit(page)).toBeGreaterThanOrEqual(atLeast);
  expect(nextLimit(page)).toBeLessThanOrEqual(atMost);
});
