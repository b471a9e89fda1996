// Roots that are on the cell already: tar archives in a folder of the operator's, one for each stack, as `preloaded:<stack>` names them.
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { GardenError } from "../garden.js";

export interface PreloadedRoot {
  readonly stack: string;
  readonly file: string;
  readonly isCompressed: boolean;
  /** `sha256:<hex>` of the archive as it is. */
  readonly digest: string;
}

const scheme = "preloaded:";
const endings = [".tar", ".tar.gz", ".tgz"] as const;
const stackPattern = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/;

/** The stack a rootfs URL names; `undefined` when it is of another scheme. */
export const stackOf = (rootFs: string): string | undefined =>
  rootFs.startsWith(scheme) ? rootFs.slice(scheme.length) : undefined;

export class PreloadedRoots {
  readonly #dir: string | undefined;
  /** Archives are large and seldom change: one is read again only when its size or time did. */
  readonly #digests = new Map<string, { readonly mark: string; readonly digest: string }>();

  constructor(dir: string | undefined) {
    this.#dir = dir;
  }

  /** Names of the stacks there are; sorted. */
  async stacks(): Promise<readonly string[]> {
    if (this.#dir === undefined) return [];
    const names = await readdir(this.#dir).catch((): string[] => []);
    const stacks = names.flatMap((name) => endings.filter((end) => name.endsWith(end)).map((end) => name.slice(0, -end.length)));
    return [...new Set(stacks.filter((stack) => stackPattern.test(stack)))].sort();
  }

  /** @throws GardenError image-not-found */
  async find(stack: string, signal: AbortSignal): Promise<PreloadedRoot> {
    if (this.#dir !== undefined && stackPattern.test(stack)) {
      for (const end of endings) {
        const file = join(this.#dir, `${stack}${end}`);
        const seen = await stat(file).catch(() => undefined);
        if (seen?.isFile() !== true) continue;
        const digest = await this.#digest(file, `${seen.size} ${seen.mtimeMs} ${seen.ino}`, signal);
        return { stack, file, isCompressed: end !== ".tar", digest };
      }
    }
    throw new GardenError("image-not-found", `this cell has no preloaded root "${stack.slice(0, 100)}"`);
  }

  async #digest(file: string, mark: string, signal: AbortSignal): Promise<string> {
    const known = this.#digests.get(file);
    if (known?.mark === mark) return known.digest;
    const hash = createHash("sha256");
    await pipeline(createReadStream(file), hash, { signal });
    const digest = `sha256:${hash.digest("hex")}`;
    this.#digests.set(file, { mark, digest });
    return digest;
  }
}
