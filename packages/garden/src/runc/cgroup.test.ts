// Cgroups of each layout a machine may have, as trees of plain files: what is read from where, and what is refused.
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { OperatorError } from "@muster/shared/errors";
import { afterEach, describe, expect, it } from "vitest";
import { Cgroups } from "./cgroup.js";

const made: string[] = [];
afterEach(async () => {
  for (const folder of made.splice(0)) await rm(folder, { recursive: true, force: true });
});

interface Tree {
  readonly files: Readonly<Record<string, string>>;
  readonly folders?: readonly string[];
  readonly links?: Readonly<Record<string, string>>;
}

async function treeOf({ files, folders = [], links = {} }: Tree): Promise<string> {
  const root = await mkdtemp(join(tmpdir(), "muster-cgroup-"));
  made.push(root);
  for (const folder of folders) await mkdir(join(root, folder), { recursive: true });
  for (const [name, text] of Object.entries(files)) {
    await mkdir(dirname(join(root, name)), { recursive: true });
    await writeFile(join(root, name), text);
  }
  for (const [name, target] of Object.entries(links)) await symlink(target, join(root, name));
  return root;
}

const v1Memory = {
  "memory.usage_in_bytes": "50000000\n",
  // The plain counter leaves out what groups below it hold.
  "memory.stat": "inactive_file 1\ntotal_cache 9\ntotal_inactive_file 20000000\n",
  "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
};
const under = (folder: string, files: Readonly<Record<string, string>>): Record<string, string> =>
  Object.fromEntries(Object.entries(files).map(([name, text]) => [`${folder}/${name}`, text]));

const separate: Tree = {
  files: {
    ...under("memory/cell/h", v1Memory),
    "memory/memory.memsw.limit_in_bytes": "9223372036854771712\n",
    "cpuacct/cell/h/cpuacct.usage": "9000000000123\n",
    "pids/cell/h/pids.current": "4\n",
  },
  folders: ["cpu", "devices", "freezer", "systemd"],
};
/** As systemd mounts it: two controllers in one hierarchy, links under each one's name, and an empty version 2 beside them. */
const hybrid: Tree = {
  files: {
    ...under("memory/cell/h", v1Memory),
    "cpu,cpuacct/cell/h/cpuacct.usage": "9000000000123\n",
    "pids/cell/h/pids.current": "4\n",
    "unified/cgroup.controllers": "\n",
  },
  folders: ["devices", "freezer", "net_cls,net_prio", "systemd"],
  links: { cpu: "cpu,cpuacct", cpuacct: "cpu,cpuacct" },
};
const alone: Tree = {
  files: {
    "cgroup.controllers": "cpuset cpu io memory hugetlb pids rdma misc\n",
    "cgroup.subtree_control": "",
    "cell/memory.swap.max": "max\n",
    "cell/h/memory.current": "50000000\n",
    "cell/h/memory.stat": "anon 7\ninactive_anon 5\ninactive_file 20000000\n",
    "cell/h/memory.events": "low 0\nhigh 0\nmax 17\noom 4\noom_kill 3\noom_group_kill 9\n",
    "cell/h/cpu.stat": "usage_usec 9000000001\nuser_usec 1\nsystem_usec 2\n",
    "cell/h/pids.current": "4\n",
  },
};

describe.each([
  ["version 1, a hierarchy for each controller", separate, 9_000_000_000_123n],
  ["a hybrid", hybrid, 9_000_000_000_123n],
  ["version 2 alone", alone, 9_000_000_001_000n],
] as const)("with %s", (_layout, tree, cpuTimeNs) => {
  it("figures are read", async () => {
    const cgroups = new Cgroups(await treeOf(tree));
    expect(await cgroups.usage("/cell/h")).toEqual({ memoryBytes: 30_000_000, cpuTimeNs, pids: 4 });
    expect(await cgroups.oomKills("/cell/h")).toBe(3);
  });

  it("what is gone counts nothing, and memory is never less than nothing", async () => {
    const root = await treeOf(tree);
    const cgroups = new Cgroups(root);
    expect(await cgroups.usage("/cell/gone")).toEqual({ memoryBytes: 0, cpuTimeNs: 0n, pids: 0 });
    expect(await cgroups.oomKills("/cell/gone")).toBe(0);
    const usage = tree === alone ? "cell/h/memory.current" : "memory/cell/h/memory.usage_in_bytes";
    await writeFile(join(root, usage), "10\n");
    expect((await cgroups.usage("/cell/h")).memoryBytes).toBe(0);
  });

  it("a cell can begin", async () => {
    await expect(new Cgroups(await treeOf(tree)).prepare("/cell")).resolves.toBeUndefined();
  });
});

describe("the folders of a cgroup", () => {
  it.each([
    ["are one for each hierarchy of version 1", separate, ["cpu", "cpuacct", "devices", "freezer", "memory", "pids", "systemd"]],
    [
      "are each hierarchy's once, whatever links name it, and version 2's beside them",
      hybrid,
      ["cpu,cpuacct", "devices", "freezer", "memory", "net_cls,net_prio", "pids", "systemd", "unified"],
    ],
    ["are one for version 2 alone", alone, ["."]],
  ])("%s", async (_what, tree, names) => {
    const root = await treeOf(tree);
    expect(new Cgroups(root).folders("/cell/h").sort()).toEqual(names.map((name) => join(root, name, "cell/h")));
  });
});

describe("a cell's own cgroup", () => {
  it("of version 2 is made, with the controllers switched on that its containers need", async () => {
    const root = await treeOf(alone);
    await rm(join(root, "cell"), { recursive: true });
    const cgroups = new Cgroups(root);
    await cgroups.prepare("/cell");
    expect(await readFile(join(root, "cgroup.subtree_control"), "utf8")).toBe("+cpu +memory +pids");
    // The kernel makes the file with the folder where it counts swap.
    expect(cgroups.countsSwap("/cell")).toBe(false);
    await writeFile(join(root, "cell", "memory.swap.max"), "max\n");
    expect(cgroups.countsSwap("/cell")).toBe(true);
  });

  it("of version 1 is runc's to make; swap is counted where the kernel says so", async () => {
    expect(new Cgroups(await treeOf(separate)).countsSwap("/cell")).toBe(true);
    expect(new Cgroups(await treeOf(hybrid)).countsSwap("/cell")).toBe(false);
  });

  it.each([
    ["version 2", { files: { "cgroup.controllers": "cpu pids\n", "cgroup.subtree_control": "" } }, "memory"],
    ["version 2 inside a container that was handed nothing", { files: { "cgroup.controllers": "\n" } }, "cpu, memory, pids"],
    ["version 1", { files: {}, folders: ["cpu,cpuacct", "pids", "devices"] }, "memory"],
    [
      "a hybrid with memory in version 2, which runc cannot use",
      { files: { "unified/cgroup.controllers": "memory\n" }, folders: ["cpu,cpuacct", "pids", "devices"] },
      "memory",
    ],
  ] satisfies [string, Tree, string][])(
    "is refused with %s when the kernel lacks a controller",
    async (_layout, tree, missing) => {
      const refused = new Cgroups(await treeOf(tree)).prepare("/cell");
      await expect(refused).rejects.toBeInstanceOf(OperatorError);
      await expect(refused).rejects.toThrow(`no controller ${missing}: `);
    },
  );

  it("is refused where cgroups cannot be written to", async () => {
    const root = await treeOf({ ...alone, files: { "cgroup.controllers": "cpu memory pids\n" } });
    await expect(new Cgroups(root).prepare("/cell")).rejects.toThrow("cannot be changed (ENOENT)");
  });
});
