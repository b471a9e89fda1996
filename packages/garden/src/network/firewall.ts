// The cell's iptables rules: kept in chains of our own, and always written whole from what is wanted, so that no rule is ever forgotten
// and a restart repairs whatever was done to them meanwhile.
import { GardenError } from "../garden.js";
import { type Exec, lastWords } from "../tools/exec.js";
import {
  egressChain,
  egressChains,
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
  readonly protectedAddresses: readonly string[];
}

/** Two hundred containers with thousands of rules each. */
const savedBytes = 128 * 1_048_576;

export class Firewall {
  readonly #options: FirewallOptions;
  readonly #mappings = new Map<string, Mapping>();
  /** The write that is going on, and the one that will carry everything asked for since it began. */
  #writing: Promise<void> | undefined;
  #next: Promise<void> | undefined;
  /** Whether the kernel's chains are known to lead to ours; a write that fails puts it in doubt. */
  #jumpsKnown = false;
  /** Containers' chains that are there as they should be, by what is in them; a write that fails puts all in doubt. */
  #written = new Map<string, Mapping>();

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

  /** Opens a container's ports and puts its rules in force; resolves when both are done. @throws GardenError tool-failed */
  async open(mapping: Mapping): Promise<void> {
    this.#mappings.set(mapping.handle, mapping);
    await this.#write();
  }

  /** Takes both away; a container that has none is no error, nor is one whose rules could not be taken away before. */
  async close(handle: string): Promise<void> {
    const known = this.#mappings.delete(handle);
    if (known || !this.#jumpsKnown) await this.#write();
  }

  /** Takes away our chains and the jumps into them. */
  async remove(): Promise<void> {
    this.#mappings.clear();
    await this.#writing?.catch(() => {});
    const { exec, names } = this.#options;
    const text = removalText(names, await this.#saved());
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
    const { exec, names, subnet, hostAddress, protectedAddresses } = this.#options;
    try {
      const mappings = [...this.#mappings.values()];
      const wanted = new Map(mappings.map((mapping) => [egressChain(names, mapping.containerIp), mapping]));
      const saved = this.#jumpsKnown ? undefined : await this.#saved();
      const there = saved === undefined ? [...this.#written.keys()] : egressChains(names, saved);
      const stale = [...wanted].filter(([chain, mapping]) => saved !== undefined || this.#written.get(chain) !== mapping);
      const text = firewallText({
        names,
        subnet,
        hostAddress,
        protectedAddresses,
        mappings,
        missingJumps: saved === undefined ? [] : this.#missingJumps(saved),
        write: new Set(stale.map(([chain]) => chain)),
        remove: there.filter((chain) => !wanted.has(chain)),
      });
      await exec("iptables-restore", ["--noflush", "--wait", "10"], { input: text });
      this.#jumpsKnown = true;
      this.#written = wanted;
    } catch (error) {
      this.#jumpsKnown = false;
      if (error instanceof GardenError) throw error;
      throw new GardenError("tool-failed", `the container's network rules could not be written (${lastWords(error)})`, error);
    }
  }

  async #saved(): Promise<string> {
    return (await this.#options.exec("iptables-save", [], { maxOutputBytes: savedBytes })).stdout.toString("utf8");
  }

  #missingJumps(saved: string): readonly Jump[] {
    const { names, hostAddress } = this.#options;
    const tables = savedTables(saved);
    return jumps(names, hostAddress).filter(({ table, chain, target }) => !hasJump(tables, table, chain, target));
  }
}
