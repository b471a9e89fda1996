// A machine of its own for tests of what this one's kernel cannot show: qemu with a kernel of Debian's, whose root is this machine's, read
// only, with a layer of memory over it. Emulated where there is no KVM, and then some ten times slower.
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { accessSync, constants, existsSync } from "node:fs";
import { chmod, copyFile, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);

/** Begins a line of the console that tests read: a name and what was seen, in JSON. */
export const factMark = "SEEN ";

const qemu = "qemu-system-x86_64";
/** What the guest needs before it can see its root. */
const rootModules = ["virtio_pci", "9pnet_virtio", "9p", "overlay"];
const memoryMb = 2_048;
const scratchMb = 4_096;

const works = async (tool: string, ...args: readonly string[]): Promise<boolean> =>
  run(tool, [...args]).then(
    () => true,
    () => false,
  );

/** Why no virtual machine can be made here; `undefined` when one can. */
export async function whyNoVirtualMachine(): Promise<string | undefined> {
  if (process.arch !== "x64") return `it boots an x86-64 kernel, and this machine is ${process.arch}`;
  if (!(await works(qemu, "--version"))) return `${qemu} is missing: apt-get install --no-install-recommends qemu-system-x86`;
  if (process.env.MUSTER_VM_KERNEL !== undefined) return undefined;
  if (!(await works("apt-cache", "show", "linux-image-amd64")))
    return "apt knows no package linux-image-amd64; MUSTER_VM_KERNEL may name one of Debian's linux-image-….deb";
  return undefined;
}

/** KVM is of use only where the processor says so itself; elsewhere it may open and fail later. */
async function accelerator(): Promise<string[]> {
  const flags = await readFile("/proc/cpuinfo", "utf8");
  const open = ((): boolean => {
    try {
      accessSync("/dev/kvm", constants.R_OK | constants.W_OK);
      return true;
    } catch {
      return false;
    }
  })();
  return open && /^flags.*\b(vmx|svm)\b/m.test(flags) ? ["-accel", "kvm", "-cpu", "host"] : ["-accel", "tcg", "-cpu", "max"];
}

export interface Kernel {
  readonly image: string;
  readonly version: string;
  /** Holds a folder for the version. */
  readonly modules: string;
}

/** Unpacks Debian's current kernel below `folder`: the package that MUSTER_VM_KERNEL names, or what apt downloads. Nothing is installed. */
export async function fetchKernel(folder: string): Promise<Kernel> {
  let file = process.env.MUSTER_VM_KERNEL;
  if (file === undefined) {
    const { stdout } = await run("apt-cache", ["depends", "linux-image-amd64"]);
    const name = /Depends: (linux-image-\S+)/.exec(stdout)?.[1];
    if (name === undefined) throw new Error("linux-image-amd64 depends on no kernel");
    await run("apt-get", ["download", name], { cwd: folder });
    file = join(folder, (await readdir(folder)).find((entry) => entry.endsWith(".deb")) ?? "");
  }
  const root = join(folder, "kernel");
  await run("dpkg-deb", ["--extract", file, root]);
  const modules = existsSync(join(root, "usr/lib/modules")) ? join(root, "usr/lib/modules") : join(root, "lib/modules");
  const [version] = await readdir(modules);
  if (version === undefined) throw new Error(`${basename(file)} holds no modules`);
  // Newer packages compress their modules, which busybox cannot load.
  await run("find", [modules, "-name", "*.ko.xz", "-exec", "xz", "--decompress", "{}", "+"]);
  await run("busybox", ["depmod", "-b", modules.replace(/\/lib\/modules$/, ""), version]);
  return { image: join(root, "boot", `vmlinuz-${version}`), version, modules };
}

/** Files of modules and all they need, those needed first. */
function inLoadOrder(dependencies: string, names: readonly string[]): string[] {
  const needs = new Map(
    dependencies
      .split("\n")
      .map((line) => line.split(":"))
      .map(([file = "", needed = ""]) => [file, needed.trim().split(" ").filter(Boolean).reverse()]),
  );
  const files = names.flatMap((name) => {
    const file = [...needs.keys()].find((key) => key.endsWith(`/${name}.ko`));
    // What is not among them is built into the kernel.
    return file === undefined ? [] : [...(needs.get(file) ?? []), file];
  });
  return [...new Set(files)];
}

const nine = (tag: string, options: string): string =>
  `$b mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=512000,${options} ${tag}`;

const init = `#!/bin/busybox sh
b=/bin/busybox
$b mount -t proc proc /proc; $b mount -t sysfs sys /sys; $b mount -t devtmpfs dev /dev
while read module; do $b insmod /modules/$module; done < /order
${nine("root", "cache=loose")} /lower
$b mount -t tmpfs -o mode=755 over /over; $b mkdir /over/up /over/work
$b mount -t overlay -o lowerdir=/lower,upperdir=/over/up,workdir=/over/work overlay /root
$b mkdir -p /root/proc /root/sys /root/dev /root/run /root/scratch /root/lib/modules /root/var/lib/containers
${nine("modules", "cache=loose")} /root/lib/modules
$b mount -t proc proc /root/proc; $b mount -t sysfs sys /root/sys; $b mount --move /dev /root/dev
$b mkdir -p /root/dev/pts /root/dev/shm
$b mount -t devpts devpts /root/dev/pts; $b mount -t tmpfs shm /root/dev/shm
$b mount -t tmpfs -o mode=755 run /root/run; $b mount -t tmpfs containers /root/var/lib/containers
$b mount -t cgroup2 cgroup2 /root/sys/fs/cgroup
$b mkdir /root/run/job; ${nine("job", "cache=none")} /root/run/job
$b cp $b /root/run/busybox; $b umount /proc; $b umount /sys
exec $b switch_root /root /bin/sh /run/job/begin
`;

const begin = `export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TMPDIR=/scratch
printf '#!/bin/sh\\nexec /run/busybox modprobe "$@"\\n' > /run/modprobe; chmod 755 /run/modprobe
echo /run/modprobe > /proc/sys/kernel/modprobe
for module in virtio_blk ext4 loop; do /run/modprobe $module; done
mount /dev/vda /scratch; ip link set lo up
/bin/sh /run/job/script
/run/busybox poweroff -f
`;

async function makeInitrd(folder: string, kernel: Kernel): Promise<string> {
  const root = join(folder, "initrd");
  for (const name of ["bin", "modules", "lower", "over", "root", "proc", "sys", "dev"])
    await mkdir(join(root, name), { recursive: true });
  await copyFile("/bin/busybox", join(root, "bin/busybox"));
  const dir = join(kernel.modules, kernel.version);
  const files = inLoadOrder(await readFile(join(dir, "modules.dep"), "utf8"), rootModules);
  for (const file of files) await copyFile(join(dir, file), join(root, "modules", basename(file)));
  await writeFile(join(root, "order"), `${files.map((file) => basename(file)).join("\n")}\n`);
  await writeFile(join(root, "init"), init);
  await chmod(join(root, "init"), 0o755);
  const archive = join(folder, "initrd.cpio");
  await run("sh", ["-c", 'cd "$1" && find . | busybox cpio -o -H newc > "$2"', "sh", root, archive]);
  return archive;
}

export interface GuestOptions {
  /** For what the machine is made of; emptied by the caller. */
  readonly folder: string;
  readonly kernel: Kernel;
  /** Words on the kernel's command line: `cgroup_no_v1=all`. */
  readonly kernelWords: string;
  /** Run as root by /bin/sh; this machine's files are where they are here, and /scratch is an empty disk. */
  readonly script: string;
  readonly timeoutMs: number;
}

/** Boots, runs the script and waits for the end. @returns all that was on the console. @throws Error with it, when time was up */
export async function runInVirtualMachine({ folder, kernel, kernelWords, script, timeoutMs }: GuestOptions): Promise<string> {
  const job = join(folder, "job");
  await mkdir(job);
  await writeFile(join(job, "begin"), begin);
  await writeFile(join(job, "script"), script);
  const disk = join(folder, "scratch.img");
  await run("truncate", ["--size", `${scratchMb}M`, disk]);
  await run("mkfs.ext4", ["-q", "-F", "-E", "lazy_itable_init=1,lazy_journal_init=1", disk]);
  const share = (path: string, tag: string): string[] => [
    "-virtfs",
    `local,path=${path},mount_tag=${tag},security_model=none,readonly=on,multidevs=remap`,
  ];
  const machine = ["-smp", "1", "-m", String(memoryMb), "-nodefaults", "-display", "none", "-no-reboot", "-serial", "stdio"];
  const boot = ["-kernel", kernel.image, "-initrd", await makeInitrd(folder, kernel)];
  const child = spawn(
    qemu,
    [
      ...(await accelerator()),
      ...machine,
      ...boot,
      ...["-append", `console=ttyS0 quiet panic=-1 ${kernelWords}`],
      ...share("/", "root"),
      ...share(kernel.modules, "modules"),
      ...share(job, "job"),
      ...["-drive", `file=${disk},if=virtio,format=raw,cache=unsafe`],
    ],
    { stdio: ["ignore", "pipe", "pipe"] },
  );
  const console = await consoleOf(child, timeoutMs);
  await rm(disk);
  return console;
}

function consoleOf(child: ChildProcess, timeoutMs: number): Promise<string> {
  let text = "";
  const add = (chunk: Buffer): void => {
    text += chunk.toString("utf8");
  };
  child.stdout?.on("data", add);
  child.stderr?.on("data", add);
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      child.kill("SIGKILL");
      reject(new Error(`the virtual machine did not end within ${timeoutMs} ms; its console:\n${text}`));
    }, timeoutMs);
    child.once("error", reject);
    child.once("close", () => {
      clearTimeout(timer);
      resolve(text.replaceAll("\r", ""));
    });
  });
}
