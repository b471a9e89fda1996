// Which DesiredLRPs a read's filters let through, and that guids which are named are looked up, not looked for.
import { asDomainName, asProcessGuid, put, Tables } from "@muster/shared/model";
import { desiredLRP } from "@muster/shared/testing";
import { describe, expect, it } from "vitest";
import { pickDesired } from "./desired-filter.js";

const all = { domain: "", processGuids: [], appGuids: [] };

function tablesWith(...guids: string[]): Tables {
  const tables = new Tables();
  for (const guid of guids) {
    const domain = asDomainName(guid.startsWith("b") ? "backing" : "d");
    tables.apply(put("desiredLRP", desiredLRP({ processGuid: asProcessGuid(guid), domain })));
  }
  return tables;
}

describe("the filters of DesiredLRPs", () => {
  it.each([
    { what: "nothing", filter: {}, picked: ["a1-v1", "a1-v2", "a2-v1", "b1"] },
    { what: "a domain", filter: { domain: "d" }, picked: ["a1-v1", "a1-v2", "a2-v1"] },
    {
      what: "guids, one of them twice and one unknown",
      filter: { processGuids: ["b1", "x", "b1", "a1-v1"] },
      picked: ["a1-v1", "b1"],
    },
    {
      what: "apps, as prefixes of any length",
      filter: { appGuids: ["a1", "b1", "a2-v1-and-more"] },
      picked: ["a1-v1", "a1-v2", "b1"],
    },
    { what: "the empty prefix", filter: { appGuids: [""] }, picked: ["a1-v1", "a1-v2", "a2-v1", "b1"] },
    { what: "a domain and guids", filter: { domain: "d", processGuids: ["b1", "a1-v1"] }, picked: ["a1-v1"] },
    { what: "guids and apps", filter: { processGuids: ["a1-v1", "a2-v1"], appGuids: ["a2"] }, picked: ["a2-v1"] },
    { what: "a domain nobody has", filter: { domain: "x" }, picked: [] },
  ])("$what", ({ filter, picked }) => {
    const found = pickDesired(tablesWith("a1-v1", "a1-v2", "a2-v1", "b1"), { ...all, ...filter });
    expect(found.map(({ processGuid }) => processGuid).sort()).toEqual(picked);
  });

  it.each([{ processGuids: ["a1"] }, { domain: "d" }])("%o does not look at all there is", (filter) => {
    const tables = tablesWith("a1", "b1");
    const walked = (): never => {
      throw new Error("walked over every record");
    };
    tables.desiredLRPs.values = walked;
    expect(pickDesired(tables, { ...all, ...filter }).map(({ processGuid }) => processGuid)).toEqual(["a1"]);
    expect(() => pickDesired(tables, all)).toThrow("every record");
  });
});
