// Sorting many records without holding up the event loop: runs are sorted and merged, with a pause after each piece of work.

/** A millisecond or two of work. */
const workItems = 1_024;

/** A sorted copy. `pause` lets others have their turn. */
export async function sortInSlices<Item>(
  items: readonly Item[],
  compare: (a: Item, b: Item) => number,
  pause: () => Promise<void>,
): Promise<readonly Item[]> {
  let runs: Item[][] = [];
  for (let from = 0; from < items.length; from += workItems) {
    runs.push(items.slice(from, from + workItems).sort(compare));
    await pause();
  }
  while (runs.length > 1) {
    const merged: Item[][] = [];
    for (let at = 0; at < runs.length; at += 2) merged.push(await merge(runs[at] ?? [], runs[at + 1] ?? [], compare, pause));
    runs = merged;
  }
  return runs[0] ?? [];
}

async function merge<Item>(
  left: Item[],
  right: Item[],
  compare: (a: Item, b: Item) => number,
  pause: () => Promise<void>,
): Promise<Item[]> {
  if (right.length === 0) return left;
  const merged: Item[] = [];
  for (let [l, r] = [0, 0]; merged.length < left.length + right.length; ) {
    const [first, second] = [left[l], right[r]];
    const takeLeft = r >= right.length || (l < left.length && compare(first as Item, second as Item) <= 0);
    merged.push((takeLeft ? first : second) as Item);
    if (takeLeft) l += 1;
    else r += 1;
    if (merged.length % workItems === 0) await pause();
  }
  return merged;
}
