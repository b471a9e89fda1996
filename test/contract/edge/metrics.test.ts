// The metrics that operators are promised, and those that a BBS exports: the same.
import { unary } from "@muster/shared/rpc";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type BbsProcess, clientsOf, lmdbHome, type StoreHome, spawnBbs } from "../../support/bbs.js";
import { claim, desire, desired, instance } from "../bbs/fixtures.js";
import { coded, tableUnder } from "./docs.js";

let home: StoreHome;
let bbs: BbsProcess;
beforeAll(async () => {
  home = await lmdbHome();
  bbs = await spawnBbs(home);
  await bbs.until("active");
});
afterAll(async () => {
  await bbs[Symbol.asyncDispose]();
  await home[Symbol.asyncDispose]();
});

/** `name{a,b}` as the docs write it. */
const documented = (): Map<string, readonly string[]> =>
  new Map(
    tableUnder("Metrics")
      .rows.flatMap(([metric = ""]) => coded(metric))
      .map((one) => {
        const [name = "", labels = ""] = one.split(/[{}]/);
        return [name, labels === "" ? [] : labels.split(",")];
      }),
  );

/** Names by their `# TYPE` lines, with the labels of their samples but `service` and `le`. */
function exported(text: string): Map<string, Set<string>> {
  const names = new Map<string, Set<string>>();
  for (const [, name = ""] of text.matchAll(/^# TYPE (\S+) /gm)) names.set(name, new Set());
  for (const [, sample = "", labels = ""] of text.matchAll(/^([a-z_0-9]+)\{([^}]*)\}/gm)) {
    const of = names.get(sample) ?? names.get(sample.replace(/_(bucket|sum|count)$/, ""));
    for (const [, label = ""] of labels.matchAll(/(\w+)="/g)) if (label !== "service" && label !== "le") of?.add(label);
  }
  return names;
}

/** The value of a sample by its name and what its labels hold. */
const sampleOf = (text: string, name: string, ...labels: string[]): number | undefined => {
  const line = text.split("\n").find((one) => one.startsWith(`${name}{`) && labels.every((label) => one.includes(label)));
  return line === undefined ? undefined : Number(line.slice(line.lastIndexOf(" ") + 1));
};

describe("the metrics of a BBS", () => {
  it("are those of the table in docs/operations.md, labels included, and no others of ours", async () => {
    const promised = documented();
    const found = exported(await bbs.metrics());
    expect([...promised.keys()].filter((name) => !found.has(name))).toEqual([]);
    const ours = [...found.keys()].filter((name) => name.startsWith("bbs_") || name.startsWith("locket_"));
    expect(ours.filter((name) => !promised.has(name))).toEqual([]);
    const labels = (names: Iterable<string>): string[] => [...names].sort();
    for (const [name, of] of found) {
      if (of.size > 0 && promised.has(name)) expect(labels(of), name).toEqual(labels(promised.get(name) ?? []));
    }
  });

  it("tell what is on record", async () => {
    using controller = await clientsOf([bbs.address], "controller");
    using cell1 = await clientsOf([bbs.address], "cell:cell-1");
    await unary(controller.bbs.upsertDomain.bind(controller.bbs), { domain: "apps", ttl: 0 });
    await desire(controller, desired("counted", { instances: 3 }));
    await claim(cell1, "counted", 0, instance("a"));
    const denied = unary(cell1.bbs.domains.bind(cell1.bbs), {});
    await expect(denied).rejects.toMatchObject({ code: "PermissionDenied" });
    const text = await bbs.metrics();
    expect(sampleOf(text, "bbs_lrps", 'state="claimed"', 'presence="ordinary"')).toBe(1);
    expect(sampleOf(text, "bbs_lrps", 'state="unclaimed"', 'presence="ordinary"')).toBe(2);
    expect(sampleOf(text, "bbs_lrps", 'state="running"', 'presence="suspect"')).toBe(0);
    expect(sampleOf(text, "bbs_lrps_desired")).toBe(3);
    expect(sampleOf(text, "bbs_domain_fresh", 'domain="apps"')).toBe(1);
    // Claimed by a cell that has no presence.
    expect(sampleOf(text, "bbs_cells_suspect")).toBe(1);
    expect(sampleOf(text, "bbs_cells_present")).toBe(0);
    expect(sampleOf(text, "bbs_lock_held")).toBe(1);
    expect(sampleOf(text, "bbs_elections_total")).toBe(1);
    expect(sampleOf(text, "bbs_grpc_connections")).toBeGreaterThanOrEqual(2);
    expect(sampleOf(text, "bbs_permission_denials_total", 'call="Domains"')).toBe(1);
  });

  it("say of a standby that it does not lead", async () => {
    const standby = await spawnBbs(home);
    await standby.until("standby");
    const text = await standby.metrics();
    expect(sampleOf(text, "bbs_lock_held")).toBe(0);
    expect(sampleOf(text, "bbs_elections_total")).toBe(0);
    await standby[Symbol.asyncDispose]();
  });
});
