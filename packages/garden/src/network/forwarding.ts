// The machine's one switch for routing between its networks. Containers need it on; it is put back when the last cell of this machine
// is gone. A cell that is killed leaves it on, and the next to end in order puts it back: the former value is in a file.
import { readFile, rm, writeFile } from "node:fs/promises";
import { isMissing } from "../tools/files.js";

const kernelSwitch = "/proc/sys/net/ipv4/ip_forward";

export class Forwarding {
  readonly #memory: string;
  readonly #switch: string;

  /** `memory` is the file that holds the former value while it is changed; below /run, since a boot resets both. */
  constructor(memory: string, switchFile: string = kernelSwitch) {
    this.#memory = memory;
    this.#switch = switchFile;
  }

  /** Switches it on. The caller holds the machine's lock. */
  async allow(): Promise<void> {
    const now = (await readFile(this.#switch, "utf8")).trim();
    if (now === "1") return;
    await writeFile(this.#memory, now, { mode: 0o600 });
    await writeFile(this.#switch, "1");
  }

  /** Puts back what was there before the first `allow`; nothing when it was on already. The caller holds the machine's lock. */
  async restore(): Promise<void> {
    const before = await readFile(this.#memory, "utf8").catch((error: unknown) => {
      if (isMissing(error)) return undefined;
      throw error;
    });
    if (before === undefined) return;
    await writeFile(this.#switch, before);
    await rm(this.#memory, { force: true });
  }
}
