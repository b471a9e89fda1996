// The machine's tools behind wrappers that hang or die when told to, at the step told, before or after they have done their work.
import { access, chmod, copyFile, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";

export type Fault = "hangs" | "dies" | "hangs after its work" | "dies after its work";

export interface FaultyTools extends AsyncDisposable {
  /** CNI plugins, wrapped: a garden must be told of them. The others are found first in this process's PATH. */
  readonly cniPluginDir: string;
  /** From now on the tool fails whenever `pattern` is in its arguments (for CNI plugins: its command); `once`: the first time only. */
  fail(tool: string, pattern: string, fault: Fault, once?: boolean): Promise<void>;
  heal(): Promise<void>;
}

const plugins = ["bridge", "host-local"];
const folders = ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/bin", "/bin"];

async function firstOf(tool: string, among: readonly string[]): Promise<string> {
  for (const folder of among) {
    const file = join(folder, tool);
    const there = await access(file).then(
      () => true,
      () => false,
    );
    if (there) return file;
  }
  throw new Error(`there is no ${tool} on this machine`);
}

// The fault is in a file of the tool's name: first line what, second line when, third line "once" or nothing. A wrapper that hangs is killed
// with its group, and the sleep in it.
const script = (faultFile: string, real: string): string => `#!/bin/sh
if [ -e "${faultFile}" ]; then
  { read -r fault; read -r pattern; read -r once; } < "${faultFile}"
  case "$* $CNI_COMMAND" in
    *"$pattern"*)
      if [ "$once" = once ]; then rm -f "${faultFile}"; fi
      case "$fault" in
        *after*) "${real}" "$@";;
      esac
      case "$fault" in
        hangs*) sleep 1000;;
        *) echo "it broke" >&2; exit 1;;
      esac;;
  esac
fi
exec "${real}" "$@"
`;

/** Puts wrappers of these tools first in this process's PATH until disposed of. */
export async function wrapTools(tools: readonly string[]): Promise<FaultyTools> {
  const dir = await mkdtemp(join(tmpdir(), "muster-faulty-"));
  const [bin, cni, faults] = ["bin", "cni", "faults"].map((name) => join(dir, name)) as [string, string, string];
  for (const folder of [bin, cni, faults]) await mkdir(folder);
  const wrap = async (tool: string, folder: string, real: string): Promise<void> => {
    await writeFile(join(folder, tool), script(join(faults, tool), real));
    await chmod(join(folder, tool), 0o755);
  };
  for (const tool of tools) await wrap(tool, bin, await firstOf(tool, folders));
  for (const plugin of plugins) {
    const real = join(cni, `real-${plugin}`);
    await copyFile(await firstOf(plugin, ["/usr/lib/cni", "/opt/cni/bin"]), real);
    await wrap(plugin, cni, real);
  }
  const before = process.env.PATH;
  process.env.PATH = `${bin}${delimiter}${before}`;
  const heal = async (): Promise<void> => {
    await rm(faults, { recursive: true, force: true });
    await mkdir(faults);
  };
  return {
    cniPluginDir: cni,
    fail: (tool, pattern, fault, once = false) => writeFile(join(faults, tool), `${fault}\n${pattern}\n${once ? "once" : ""}\n`),
    heal,
    [Symbol.asyncDispose]: async () => {
      process.env.PATH = before;
      await rm(dir, { recursive: true, force: true });
    },
  };
}
