// Ways out of a container, each tried for real as its root: every one is refused or contained, and the cell and a neighbour are unharmed.
import { mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Container } from "@muster/garden";
import { rootFSOfImage } from "@muster/garden/image-ref";
import { namesOnMachine } from "@muster/garden/runc";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { containerSpec, eventually, never, processSpec, recorder, runScript, shell } from "../support/garden.js";
import { app, fetchText, hostPortOf, registry, test, useGarden, web, withContainer } from "../support/garden-suite.js";
import { debianRoot, pushImage } from "../support/images.js";

useGarden();

let folder = "";
/** An image with perl, which can make any system call. */
let debian = "";
let neighbour: Container;
let prisoner: Container;
let tries = 0;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "muster-escape-"));
  const layers = [{ file: await debianRoot(folder) }];
  debian = rootFSOfImage(
    await pushImage(registry.host, { name: "escape/debian", bare: true, layers, env: [], cmd: ["/bin/bash"] }),
  );
  neighbour = await test.garden.create(containerSpec("neighbour", app, { ports: [{ containerPort: 8080 }] }), never);
  await neighbour.run(web, () => {});
  prisoner = await test.garden.create(containerSpec("prisoner", app), never);
  await prisoner.run(shell("while true; do sleep 1000; done"), () => {});
  await eventually("the neighbour listens", async () => (await neighbour.probeTcp(8080, 1_000)) === undefined);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** Still there, and another container starts and ends beside it. */
async function expectUnharmed(): Promise<void> {
  expect(neighbour.info().state).toBe("active");
  expect(await fetchText(hostPortOf(neighbour))).toBe("hello from muster\n");
  await withContainer(async (container) => expect((await runScript(container, "echo fine")).text).toBe("fine\n"));
}

const denied = /not permitted|denied|Read-only|No such|can't|invalid|not found|nonexistent/i;

describe("from a container's root", () => {
  it.each<[string, string, RegExp]>([
    ["mounting a tmpfs", "mount -t tmpfs x /tmp", denied],
    ["mounting another proc", "mkdir /p; mount -t proc x /p", denied],
    ["making what is read-only writable", "mount -o remount,rw /proc/sys", denied],
    ["binding over another place", "mount -o bind /bin /etc", denied],
    ["taking a mount away", "busybox umount /etc/hosts", denied],
    [
      "writing to the files of /etc that are lent",
      "echo x >> /etc/hosts; echo x >> /etc/resolv.conf; echo x > /etc/hostname",
      denied,
    ],
    ["SysRq", "echo h > /proc/sysrq-trigger", denied],
    ["the kernel's settings", "echo /evil > /proc/sys/kernel/core_pattern", denied],
    [
      "the kernel's other settings",
      "echo 1 > /proc/sys/vm/drop_caches; echo 0 > /sys/kernel/mm/transparent_hugepage/enabled",
      denied,
    ],
    [
      "its own limits",
      "for f in /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max; do echo 1G > $f; done",
      denied,
    ],
    [
      "a cgroup's release agent",
      "mkdir /sys/fs/cgroup/memory/x /sys/fs/cgroup/x; echo /evil > /sys/fs/cgroup/memory/release_agent",
      denied,
    ],
    ["the machine's memory", "head -c 1 /dev/mem; head -c 1 /proc/kcore | wc -c | grep -q 0 && echo not permitted", denied],
    ["the kernel's log", "busybox dmesg; head -c 1 /dev/kmsg", denied],
    ["a device of its own", "busybox mknod /disk b 254 0; head -c 1 /disk", denied],
    ["a loop device", "busybox losetup /dev/loop0 /bin/busybox", denied],
    ["a user namespace", "unshare -U true", denied],
    ["a mount namespace", "unshare -m true", denied],
    ["another root", "busybox pivot_root / /tmp", denied],
    ["the clock", "busybox date -s 2001-01-01", denied],
    ["the host's name", "hostname other", denied],
    ["its network's settings", "busybox ip link set eth0 down; busybox ip route add 192.0.2.0/24 dev eth0", denied],
    ["another address", "busybox ip address add 10.0.0.99/24 dev eth0", denied],
    ["the wall between processes", `kill -9 ${process.pid}; ls /proc/${process.pid}/root`, denied],
    ["the out-of-memory order", "echo -1000 > /proc/self/oom_score_adj", denied],
    ["more open files", "ulimit -n 1000000", denied],
  ])("%s: refused", async (_what, script, words) => {
    tries += 1;
    const { text } = await runScript(prisoner, `{ ${script}; } 2>&1`, { id: `try-${tries}` });
    expect(text).toMatch(words);
  });

  it("no file of the machine is open in it, and no working folder leads out", async () => {
    await withContainer(async (container) => {
      await container.run(shell("sleep 1000"), () => {});
      const { text } = await runScript(container, "for f in /proc/1/fd/* /proc/self/fd/*; do busybox readlink $f; done", {
        id: "fds",
      });
      for (const line of text.split("\n").filter((name) => name !== ""))
        expect(line).toMatch(/^(pipe:|\/dev\/null|\/proc\/|socket:)/);
      for (let fd = 3; fd < 12; fd += 1) {
        const id = `cwd-${fd}`;
        const out = recorder();
        const started = await container
          .run(shell("pwd; ls ..", { id, dir: `/proc/self/fd/${fd}` }), out.sink)
          .catch(() => undefined);
        await started?.exited;
        expect(out.text()).not.toContain("cgroup");
      }
    });
  });

  it("what it writes over its image is its own alone", async () => {
    await withContainer(async (first) => {
      await runScript(first, "echo spoilt > /www/index.html; rm /etc/passwd");
      await withContainer(async (second) => {
        expect((await runScript(second, "cat /www/index.html; ls /etc/passwd")).text).toBe("hello from muster\n/etc/passwd\n");
      });
    });
  });
});

/** System calls by number, on the two machines that Debian images are made for; perl's answer is the error's name. */
const calls: readonly [string, { x64: number; arm64: number }, string][] = [
  ["unshare", { x64: 272, arm64: 97 }, "0x10000000"],
  ["setns", { x64: 308, arm64: 268 }, "0, 0"],
  ["clone with a user namespace", { x64: 56, arm64: 220 }, "0x10000011, 0, 0, 0, 0"],
  ["clone3", { x64: 435, arm64: 435 }, "0, 0"],
  ["mount", { x64: 165, arm64: 40 }, "$a, $a, $a, 0, 0"],
  ["move_mount", { x64: 429, arm64: 429 }, "0, 0, 0, 0, 0"],
  ["open_tree", { x64: 428, arm64: 428 }, "-100, $a, 1"],
  ["fsopen", { x64: 430, arm64: 430 }, "$a, 0"],
  ["add_key", { x64: 248, arm64: 217 }, "$a, $a, $a, 1, -3"],
  ["keyctl", { x64: 250, arm64: 219 }, "0, -3, 1"],
  ["bpf", { x64: 321, arm64: 280 }, "5, 0, 0"],
  ["perf_event_open", { x64: 298, arm64: 241 }, "0, 0, -1, -1, 0"],
  ["io_uring_setup", { x64: 425, arm64: 425 }, "1, 0"],
  ["userfaultfd", { x64: 323, arm64: 282 }, "0"],
  ["open_by_handle_at", { x64: 304, arm64: 265 }, "-100, 0, 0"],
  ["kexec_load", { x64: 246, arm64: 104 }, "0, 0, 0, 0"],
  ["init_module", { x64: 175, arm64: 105 }, "$a, 0, $a"],
  ["reboot", { x64: 169, arm64: 142 }, "0xfee1dead, 672274793, 0, 0"],
  ["swapon", { x64: 167, arm64: 224 }, "$a, 0"],
  ["settimeofday", { x64: 170, arm64: 170 }, "0, 0"],
  ["ptrace of another's number", { x64: 101, arm64: 117 }, `16, ${process.pid}, 0, 0`],
  ["a raw socket", { x64: 41, arm64: 198 }, "2, 3, 1"],
  ["a packet socket", { x64: 41, arm64: 198 }, "17, 3, 768"],
  ["a netlink socket for audit", { x64: 41, arm64: 198 }, "16, 3, 9"],
];

describe("system calls", () => {
  it("that reach what is not a container's are refused", async () => {
    const number = process.arch === "arm64" ? "arm64" : "x64";
    // An answer of 0 or more is printed as such; the caller names which may be.
    const lines = calls.map(([name, numbers, args]) => {
      const made = `syscall(${numbers[number]}, ${args})`;
      return `{ my $a = "x"; $! = 0; my $r = ${made}; exit 0 if $r == 0 && $$ != $own; print "${name}: ", ($r < 0 ? $!{EPERM} ? "EPERM" : $!{ENOSYS} ? "ENOSYS" : $!{ESRCH} ? "ESRCH" : $!{EACCES} ? "EACCES" : "other $!" : "done $r"), "\\n"; }`;
    });
    await withContainer(
      async (container) => {
        const output = recorder();
        const program = ["use Errno;", "$| = 1; our $own = $$;", ...lines].join("\n");
        const run = await container.run(processSpec("/usr/bin/perl", ["-e", program]), output.sink);
        expect((await run.exited).exitStatus).toBe(0);
        const answers = Object.fromEntries(
          output
            .text()
            .trim()
            .split("\n")
            .map((line) => line.split(": ")),
        );
        expect(Object.keys(answers)).toEqual(calls.map(([name]) => name));
        for (const [name, answer] of Object.entries(answers)) {
          // The audit socket may be made; nothing can be said on it. Numbers of other processes are nobody's here.
          const allowed = name.includes("audit") ? /^done|EPERM|other/ : /^(EPERM|ENOSYS|ESRCH|EACCES)$/;
          expect(`${name}: ${answer}`).toMatch(new RegExp(`: ${allowed.source.replace(/^\^/, "")}`));
        }
      },
      { diskMb: 400, maxPids: 64 },
      debian,
    );
  });

  it("chroot, which root may, leads no further than its own root", async () => {
    const program =
      'mkdir "/j"; chroot "/j" or die $!; chdir("..") for 1..50; chroot "."; opendir(D, "/"); print join(" ", sort readdir D), "\\n"; print -e $ARGV[0] ? "out" : "in";';
    await withContainer(
      async (container) => {
        const output = recorder();
        await (await container.run(processSpec("/usr/bin/perl", ["-e", program, folder]), output.sink)).exited;
        expect(output.text()).toMatch(/ j .*\nin$/s);
      },
      { diskMb: 400 },
      debian,
    );
  });
});

describe("a bomb", () => {
  it("of processes is held at its limit and taken away whole", async () => {
    await withContainer(
      async (container) => {
        await container.run(shell("sleep 1000"), () => {});
        await container.run(shell("bomb() { bomb & bomb & sleep 1000; }; bomb", { id: "bomb" }), () => {});
        await eventually("it is at its limit", async () => (await container.usage()).pids >= 60, 30_000);
        expect((await container.usage()).pids).toBeLessThanOrEqual(64);
        await expectUnharmed();
      },
      { maxPids: 64 },
    );
  });

  it("of memory kills its own container's processes, and says so", async () => {
    await withContainer(
      async (container) => {
        const { exit } = await runScript(container, "tail /dev/zero");
        expect(exit.outOfMemory).toBe(true);
        await expectUnharmed();
      },
      { memoryMb: 32 },
    );
  });

  it("of memory in files that are none ends the same way or at their size", async () => {
    await withContainer(
      async (container) => {
        const { text } = await runScript(
          container,
          "for d in /dev /dev/shm /dev/mqueue; do dd if=/dev/zero of=$d/fill bs=1M count=200; done 2>&1; echo end",
        );
        expect(text).toMatch(/No space left|Permission denied|end/);
        expect((await container.usage()).memoryBytes).toBeLessThan(70 * 1_048_576);
        await expectUnharmed();
      },
      { memoryMb: 64 },
    );
  });

  it("of bytes on disk fills its own disk alone", async () => {
    const file = join(test.home, "cells", "cell-1", "garden");
    await withContainer(
      async (container) => {
        const { text } = await runScript(container, "dd if=/dev/zero of=/fill bs=1M 2>&1");
        expect(text).toMatch(/No space left on device/);
        const { blocks } = await stat(join(file, container.handle, "disk", "disk.img"));
        expect((blocks * 512) / 1_048_576).toBeLessThan(40);
        await expectUnharmed();
      },
      { diskMb: 32 },
    );
  });

  it("of output costs its own container's words, and the cell answers meanwhile", async () => {
    await withContainer(
      async (container) => {
        let bytes = 0;
        const flood = await container.run(
          shell("yes 0123456789012345678901234567890123456789012345678901234567890123456789"),
          (_stream, chunk) => {
            bytes += chunk.length;
          },
        );
        const log = join(test.home, "cells", "cell-1", "garden", container.handle, "logs", "0", "log");
        await eventually("much was said", () => bytes > 10_000_000, 60_000);
        for (let round = 0; round < 3; round += 1) {
          await expectUnharmed();
          expect((await stat(log)).size).toBeLessThanOrEqual(5 * 1_048_576);
        }
        const conmon = Number(
          await readFile(join(namesOnMachine(test.home, "cell-1").runDir, "c", container.handle, "p", "0", "conmon.pid"), "utf8"),
        );
        const nice = Number((await readFile(`/proc/${conmon}/stat`, "utf8")).split(") ")[1]?.split(" ")[16]);
        expect(nice).toBe(10);
        const own = await runScript(container, "awk '{print $19}' /proc/self/stat", { id: "nice" });
        expect(own.text.trim()).toBe("0");
        await flood.signal("SIGKILL");
        expect((await flood.exited).exitStatus).toBe(137);
      },
      { cpuWeight: 10 },
    );
  });
});

describe("output", () => {
  it("of a mebibyte without a newline, and of any bytes, arrives as it was written", async () => {
    await withContainer(async (container) => {
      const chunks: Buffer[] = [];
      const script = "head -c 1048576 /dev/zero | tr '\\0' a; printf '\\n\\000\\377\\376\\r\\n\\n'; printf 'no end'";
      const process = await container.run(shell(script), (_stream, chunk) => chunks.push(Buffer.from(chunk)));
      await process.exited;
      const all = Buffer.concat(chunks);
      expect(all.subarray(0, 1_048_576).equals(Buffer.alloc(1_048_576, "a"))).toBe(true);
      expect(all.subarray(1_048_576).toString("latin1")).toBe("\n\0\xff\xfe\r\n\nno end");
    });
  });

  it("arrives while its line is not ended", async () => {
    await withContainer(async (container) => {
      const output = recorder();
      await container.run(shell("printf 'working...'; sleep 1000"), output.sink);
      await eventually("the beginning is there", () => output.text() === "working...");
    });
  });
});
