// What clients did and saw: calls with the instants between which each took effect, if it did.

/** Milliseconds on one monotonic clock for all clients. */
export interface Call<Op> {
  readonly client: number;
  readonly op: Op;
  readonly invokedMs: number;
  /** `undefined`: nobody ever told; it may take effect at any time from then on, or never. */
  readonly answer: { readonly atMs: number; readonly result: string } | undefined;
}

/** A history of one key in the order of invocation. A call that was refused before it was admitted is not in it: it took no effect. */
export type History<Op> = readonly Call<Op>[];

/** Sorts what several clients recorded. */
export const inOrder = <Op>(calls: readonly Call<Op>[]): History<Op> => [...calls].sort((a, b) => a.invokedMs - b.invokedMs);
