// Drawing by weight.
import type { Entropy } from "@muster/shared/clock";

export type Weighted<Name extends string> = readonly (readonly [Name, number])[];

/** One of the names, each as often as its weight says. */
export function drawWeighted<Name extends string>(weights: Weighted<Name>, entropy: Entropy): Name {
  let left = entropy.below(weights.reduce((sum, [, weight]) => sum + weight, 0));
  for (const [name, weight] of weights) {
    if (left < weight) return name;
    left -= weight;
  }
  throw new Error("no weight was given");
}
