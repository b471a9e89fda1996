// Private keys made ahead of their use, one after another, off the event loop: an RSA key takes a second of a busy core.
import { generateKeyPair, type KeyObject } from "node:crypto";

export interface InstanceKeys {
  readonly publicKey: KeyObject;
  readonly privateKey: KeyObject;
}

/** EC is P-256; RSA has 3072 bits, as in Diego. */
export type InstanceKeyType = "ec" | "rsa";

const makeKeys = (type: InstanceKeyType): Promise<InstanceKeys> =>
  new Promise((resolve, reject) => {
    const made = (error: Error | null, publicKey: KeyObject, privateKey: KeyObject): void =>
      error === null ? resolve({ publicKey, privateKey }) : reject(error);
    if (type === "ec") generateKeyPair("ec", { namedCurve: "P-256" }, made);
    else generateKeyPair("rsa", { modulusLength: 3_072 }, made);
  });

/** A burst of starts takes this many without waiting; each holds a few KiB. */
const reserved = 16;

export class KeyReserve {
  readonly #make: () => Promise<InstanceKeys>;
  readonly #ready: InstanceKeys[] = [];
  #filling = false;
  #closed = false;

  constructor(type: InstanceKeyType, make: () => Promise<InstanceKeys> = () => makeKeys(type)) {
    this.#make = make;
  }

  /** A pair nobody else gets: one from the reserve, or a new one where that is empty. @throws what the making of keys threw. */
  async take(): Promise<InstanceKeys> {
    const ready = this.#ready.shift();
    const keys = ready ?? (await this.#make());
    void this.fill();
    return keys;
  }

  /** Resolves when the reserve is full, or keys cannot be made: who takes one is told of that. */
  async fill(): Promise<void> {
    if (this.#filling) return;
    this.#filling = true;
    try {
      while (!this.#closed && this.#ready.length < reserved) this.#ready.push(await this.#make());
    } catch {
    } finally {
      this.#filling = false;
    }
  }

  /** No more keys are made ahead. */
  close(): void {
    this.#closed = true;
  }
}
