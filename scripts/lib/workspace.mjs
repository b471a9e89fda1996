// What a clone needs before its own code can run: the packages of the lockfile, and the compiled output.
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { readdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { withLock } from "./lock.mjs";
import { Refusal, run, say } from "./run.mjs";

export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../..");
const pnpm = "pnpm@12.21.0"; // The newest that accepts Node 20; the lockfile is in its format.
const stampFile = path.join(root, "node_modules/.muster-installed");

/** Installs and builds where needed; on a clone that is current it costs the compiler's own check and no more. */
export async function prepareWorkspace() {
  await withLock(root, async () => {
    await installDependencies();
    await build();
  });
}

async function workspaceFolders() {
  const below = async (folder) => (await readdir(path.join(root, folder))).map((name) => path.join(folder, name));
  const folders = [".", ...(await below("packages")), ...(await below("services")), "proto", "test"];
  return folders.filter((folder) => existsSync(path.join(root, folder, "package.json")));
}

/** What an installation depends on: the lockfile, every manifest, and the platform its native parts were chosen for. */
async function fingerprint(folders) {
  const hash = createHash("sha256").update(`${pnpm} ${process.platform} ${process.arch} ${process.versions.modules}\n`);
  const files = ["pnpm-lock.yaml", "pnpm-workspace.yaml", ...folders.map((folder) => path.join(folder, "package.json"))];
  for (const file of files) hash.update(`${file}\n`).update(await readFile(path.join(root, file)));
  return hash.digest("hex");
}

async function installDependencies() {
  const folders = await workspaceFolders();
  const wanted = await fingerprint(folders);
  const stamp = await readFile(stampFile, "utf8").catch(() => "");
  if (stamp === wanted && folders.every((folder) => existsSync(path.join(root, folder, "node_modules")))) return;
  say("installing packages (pnpm, from the lockfile)");
  const args = ["--yes", pnpm, "install", "--frozen-lockfile"];
  const { code } = await run("npx", args, { cwd: root, limitMs: 900_000 });
  if (code !== 0) {
    throw new Refusal(`the packages could not be installed (see above). It needs the npm registry once: npx ${args.join(" ")}`);
  }
  await writeFile(stampFile, wanted);
}

/** Compiles what changed; TypeScript itself knows what is current. */
export async function build() {
  if (!existsSync(path.join(root, "packages/cli/dist/main.js"))) say("building");
  const { code } = await run(process.execPath, ["node_modules/typescript/bin/tsc", "-b"], { cwd: root, limitMs: 300_000 });
  if (code !== 0) throw new Refusal("the build failed (see above)");
}
