// A Debian as debootstrap makes it, through the same table as every other image. It comes from the mirror that this machine's own apt uses.
import { execFile } from "node:child_process";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { describe } from "vitest";
import { debianTable } from "../support/image-set.js";
import { describeImages } from "../support/image-table.js";

const run = promisify(execFile);

interface Mirror {
  readonly suite: string;
  readonly url: string;
}

/** The first suite of apt's that is no update of another, and answers. */
async function findMirror(): Promise<Mirror | string> {
  const format = "$(ORIGIN)|$(CODENAME)|$(REPO_URI)";
  const listed = await run("apt-get", ["indextargets", "--format", format, "Created-By: Packages", "Component: main"]).catch(
    () => undefined,
  );
  const rows = (listed?.stdout ?? "").split("\n").map((line) => line.split("|"));
  const found = rows.find(([origin, suite]) => /^(Debian|Ubuntu)$/.test(origin ?? "") && /^[a-z]+$/.test(suite ?? ""));
  if (found === undefined) return "apt knows no Debian or Ubuntu: apt-get update";
  const [, suite = "", url = ""] = found;
  if (!url.startsWith("http")) return `the mirror ${url} is none that debootstrap reads by HTTP`;
  const answer = await fetch(`${url}dists/${suite}/Release`, { signal: AbortSignal.timeout(20_000) }).catch(() => undefined);
  await answer?.body?.cancel();
  return answer?.ok === true ? { suite, url } : `the mirror ${url} does not answer`;
}

const mirror = await findMirror();

/** Packs what debootstrap has made, and takes that away. */
async function bootstrappedRoot({ suite, url }: Mirror, folder: string): Promise<string> {
  const root = join(folder, "bootstrapped");
  const archive = join(folder, "bootstrapped.tar");
  // What it mounts goes with it, however it ends.
  const alone = ["--mount", "--propagation", "private", "debootstrap"];
  await run("unshare", [...alone, "--variant=minbase", suite, root, url], { maxBuffer: 64 * 1_048_576 });
  // What it has downloaded is of no use in an image.
  await run("tar", ["--create", "--file", archive, "--directory", root, "--exclude=./var/cache/apt/archives/*.deb", "."]);
  await rm(root, { recursive: true, force: true });
  return archive;
}

describe.skipIf(typeof mirror === "string")(typeof mirror === "string" ? `left out: ${mirror}` : "debootstrap", () => {
  if (typeof mirror === "string") return;
  describeImages([debianTable(`a debootstrapped ${mirror.suite}`, (folder) => bootstrappedRoot(mirror, folder))]);
});
