// The cell's iptables rules: kept in chains of our own, and always written whole from what is wanted, so that no rule is ever forgotten
// and a restart repairs whatever was done to them meanwhile.
import { GardenError } from "../garden.js";
import { type Exec, lastWords } from "../tools/exec.js";
import {
  firewallText,
  hasJump,
  type Jump,
  jumps,
  type Mapping,
  type NetworkNames,
  removalText,
  type Subnet,
  savedTables,
} from "./plan.js";

export interface FirewallOptions {
  readonly exec: Exec;
  readonly names: NetworkNames;
  readonly subnet: Subnet;
  readonly hostAddress: string;
}

export class Firewall {
  readonly #options: FirewallOptions;
  readonly #mappings = new Map<string, Mapping>();
  /** The write that is going on, and the one that will carry everything asked for since it began. */
  #writing: Promise<void> | undefined;
  #next: Promise<void> | undefined;
  /** Whether the kernel's chains are known to lead to ours; a write that fails puts it in doubt. */
  #jumpsKnown = false;

  constructor(options: FirewallOptions) {
    this.#options = options;
  }

  /** Replaces everything: at start, when what is there is not known. Puts the jumps into our chains where they are missing. */
  async reset(mappings: readonly Mapping[]): Promise<void> {
    this.#mappings.clear();
    for (const mapping of mappings) this.#mappings.set(mapping.handle, mapping);
    this.#jumpsKnown = false;
    await this.#write();
  }

  /** Opens a container's ports; resolves when they are open. @throws GardenError tool-failed */
  async open(mapping: Mapping): Promise<void> {
    this.#mappings.set(mapping.handle, mapping);
    if (mapping.ports.length > 0) await this.#write();
  }

  /** Closes them; one that has none is no error. */
  async close(handle: string): Promise<void> {
    const mapping = this.#mappings.get(handle);
    if (mapping === undefined) return;
    this.#mappings.delete(handle);
    if (mapping.ports.length > 0) await this.#write();
  }

  /** Takes away our chains and the jumps into them. */
  async remove(): Promise<void> {
    this.#mappings.clear();
    await this.#writing?.catch(() => {});
    const { exec, names } = this.#options;
    const saved = (await exec("iptables-save", [], {})).stdout.toString("utf8");
    const text = removalText(names, saved);
    if (text !== "") await exec("iptables-restore", ["--noflush", "--wait", "10"], { input: text });
  }

  /** Many changes at a time become one write: callers share the write that begins after they asked. */
  #write(): Promise<void> {
    if (this.#writing === undefined) {
      this.#writing = this.#restore().finally(() => {
        this.#writing = undefined;
      });
      return this.#writing;
    }
    this.#next ??= this.#writing
      .catch(() => {})
      .then(() => {
        this.#next = undefined;
        return this.#write();
      });
    return this.#next;
  }

  async #restore(): Promise<void> {
    const { exec, names, subnet } = this.#options;
    try {
      const missing = this.#jumpsKnown ? [] : await this.#missingJumps();
      const text = firewallText(names, subnet, [...this.#mappings.values()], missing);
      await exec("iptables-restore", ["--noflush", "--wait", "10"], { input: text });
      this.#jumpsKnown = true;
    } catch (error) {
      this.#jumpsKnown = false;
      throw new GardenError("tool-failed", `the container's ports could not be opened (${lastWords(error)})`, error);
    }
  }

  async #missingJumps(): Promise<readonly Jump[]> {
    const { exec, names, hostAddress } = this.#options;
    const saved = savedTables((await exec("iptables-save", [], {})).stdout.toString("utf8"));
    return jumps(names, hostAddress).filter(({ table, chain, target }) => !hasJump(saved, table, chain, target));
  }
}
