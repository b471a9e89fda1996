// What the client was told, and so what may be stored: a call that was acknowledged took effect, one that was refused did not,
// and of one without an answer both stay possible until a later call tells.

/** A process's wanted count; -1 while nobody desires it. */
export type Wish = number;
export const absent: Wish = -1;

export type Ask =
  | { readonly do: "desire"; readonly instances: number }
  | { readonly do: "scale"; readonly instances: number }
  | { readonly do: "remove" };

export type Outcome = "done" | "exists" | "not-found" | "conflict" | "refused" | "unknown";

/** What becomes of a wish, or the refusal the BBS owes. */
function effect(ask: Ask, wish: Wish): Wish | "exists" | "not-found" {
  if (ask.do === "desire") return wish === absent ? ask.instances : "exists";
  if (wish === absent) return "not-found";
  return ask.do === "scale" ? ask.instances : absent;
}

const numbers = (effects: readonly (Wish | string)[]): Wish[] =>
  effects.filter((result): result is number => typeof result === "number");

export class Ledger {
  readonly #possible = new Map<string, ReadonlySet<Wish>>();
  readonly #pending = new Map<string, Ask>();
  #flag: ReadonlySet<boolean>;
  #pendingFlag: boolean | undefined;

  constructor(flag: boolean) {
    this.#flag = new Set([flag]);
  }

  get processGuids(): string[] {
    return [...this.#possible.keys()];
  }

  /** What may be stored for this process now. */
  possible(processGuid: string): ReadonlySet<Wish> {
    const settled = this.#possible.get(processGuid) ?? new Set([absent]);
    const ask = this.#pending.get(processGuid);
    return ask === undefined ? settled : new Set([...settled, ...numbers([...settled].map((wish) => effect(ask, wish)))]);
  }

  asked(processGuid: string, ask: Ask): void {
    this.#pending.set(processGuid, ask);
  }

  /** Takes an answer in. Returns what is wrong with it, if it contradicts what was acknowledged before. */
  answered(processGuid: string, outcome: Outcome): string | undefined {
    const ask = this.#pending.get(processGuid);
    if (ask === undefined) return undefined;
    this.#pending.delete(processGuid);
    const before = [...(this.#possible.get(processGuid) ?? [absent])];
    const after = settle(ask, outcome, before);
    if (after.length > 0) {
      this.#possible.set(processGuid, new Set(after));
      return undefined;
    }
    return `${ask.do} of ${processGuid} was answered "${outcome}", which contradicts what was acknowledged before (${before.join(" or ")})`;
  }

  get flags(): ReadonlySet<boolean> {
    return this.#pendingFlag === undefined ? this.#flag : new Set([...this.#flag, this.#pendingFlag]);
  }

  askedFlag(enabled: boolean): void {
    this.#pendingFlag = enabled;
  }

  answeredFlag(outcome: Outcome): void {
    const enabled = this.#pendingFlag;
    this.#pendingFlag = undefined;
    if (enabled === undefined) return;
    if (outcome === "done") this.#flag = new Set([enabled]);
    else if (outcome === "unknown") this.#flag = new Set([...this.#flag, enabled]);
  }
}

function settle(ask: Ask, outcome: Outcome, before: readonly Wish[]): Wish[] {
  switch (outcome) {
    case "done":
      return numbers(before.map((wish) => effect(ask, wish)));
    case "unknown":
      return [...before, ...numbers(before.map((wish) => effect(ask, wish)))];
    case "refused":
      return [...before];
    default:
      return before.filter((wish) => effect(ask, wish) === outcome);
  }
}
