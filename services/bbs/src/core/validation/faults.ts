// Gathering every fault of a request before refusing it.
import { BbsError } from "@muster/shared/errors";

/** The faults found so far. A text appears once, however many parts of the request earn it (Diego repeats some). */
export class Faults {
  readonly #texts = new Set<string>();

  /** Diego's usual form. */
  field(name: string): void {
    this.text(`Invalid field: ${name}`);
  }

  text(text: string): void {
    this.#texts.add(text);
  }

  /** Names `field` once when `check` finds anything, and then what it found. */
  within(field: string, check: (faults: Faults) => void): void {
    const inner = new Faults();
    check(inner);
    if (inner.#texts.size === 0) return;
    this.field(field);
    for (const text of inner.#texts) this.text(text);
  }

  get none(): boolean {
    return this.#texts.size === 0;
  }

  /** @throws BbsError InvalidRequest with every fault, joined with ", ". */
  refuse(): void {
    if (!this.none) throw new BbsError("InvalidRequest", [...this.#texts].join(", "));
  }
}

/** Runs the checks and refuses when they found anything. @throws BbsError InvalidRequest */
export function validate(check: (faults: Faults) => void): void {
  const faults = new Faults();
  check(faults);
  faults.refuse();
}
