// The runc garden where cgroups are of version 2 alone, as on current distributions: in a virtual machine, since a machine has one layout
// at a time. Needs qemu-system-x86 and a kernel package of Debian's, which apt downloads unless MUSTER_VM_KERNEL names the file.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, it } from "vitest";
import { factMark, fetchKernel, runInVirtualMachine, whyNoVirtualMachine } from "../support/virtual-machine.js";

const missing = await whyNoVirtualMachine();
const guest = fileURLToPath(new URL("../dist/support/cgroup-guest.js", import.meta.url));
/** Emulated on two idle cores it takes two minutes. */
const timeoutMs = 1_500_000;

/**
 * The same once more, where only a part of the tree is seen, with processes at its top: as inside a container. The machine's root has its
 * controllers on since the first time.
 */
const script = `
echo "MOUNTED $(grep -c ' - cgroup ' /proc/self/mountinfo) $(grep -c ' - cgroup2 ' /proc/self/mountinfo)"
${process.execPath} ${guest} outside
mkdir /sys/fs/cgroup/outer && echo $$ > /sys/fs/cgroup/outer/cgroup.procs
unshare --cgroup --mount sh -c 'umount /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup && ${process.execPath} ${guest} inside'
`;

describe.skipIf(missing !== undefined)(
  `with cgroups of version 2 alone${missing === undefined ? "" : ` (left out: ${missing})`}`,
  () => {
    let text = "";
    beforeAll(async () => {
      const folder = await mkdtemp(join(tmpdir(), "muster-vm-"));
      try {
        text = await runInVirtualMachine({
          folder,
          kernel: await fetchKernel(folder),
          kernelWords: "cgroup_no_v1=all",
          script,
          timeoutMs,
        });
      } finally {
        await rm(folder, { recursive: true, force: true });
      }
    }, timeoutMs + 120_000);

    it("no other version is mounted", () => expect(text).toMatch(/^MOUNTED 0 1$/m));

    describe.each(["outside", "inside"])("%s of a container", (where) => {
      const seen = (name: string): unknown => {
        const lines = text.split("\n").filter((line) => line.startsWith(`${factMark}["${where}`));
        const facts = new Map(lines.map((line) => JSON.parse(line.slice(factMark.length)) as [string, unknown]));
        expect(facts.size, text).toBeGreaterThan(0);
        return facts.get(`${where}: ${name}`);
      };

      it("memory, swap, processes and the processor are bounded as asked", () =>
        expect(seen("limits")).toEqual([String(48 * 1_048_576), "0", "9", "37", "0::/"]));

      it("a process that grows beyond its memory is killed, and that is told", () =>
        expect(seen("killed for want of memory")).toMatchObject({ outOfMemory: true }));

      it("no more processes run than the limit says", () =>
        expect(seen("many processes")).toMatch(/can't fork|Resource temporarily unavailable/));

      it("the processor is shared by weight", () => {
        const [low = 0, high = 0] = seen("milliseconds of one processor by weights 10 and 100") as number[];
        expect(low).toBeGreaterThan(0);
        expect(high / low).toBeGreaterThan(5);
        expect(high / low).toBeLessThan(20);
      });

      it("memory and processes are counted", () => {
        const { memoryBytes, pids } = seen("figures") as { memoryBytes: number; pids: number };
        expect(memoryBytes).toBeGreaterThan(10_000);
        expect(memoryBytes).toBeLessThan(64 * 1_048_576);
        expect(pids).toBe(1);
      });

      it("a restarted rep stops what it finds", () =>
        expect(seen("ended after it was taken up again")).toMatchObject({ exitStatus: 143, signal: "SIGTERM" }));

      it("nothing is left", () => {
        expect(seen("left of the last container")).toEqual([]);
        expect(seen("left of the cell")).toEqual([]);
      });
    });
  },
);
