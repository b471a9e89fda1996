// The order in which an auction looks at what waits (auction.md section 6): LRPs of index 0, then tasks, then the other LRPs;
// more memory before less. What Diego leaves open is settled by disk (more first), then by guid.
import type { Ask, WaitingLRP, WaitingTask, Work } from "./types.js";

const byText = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

const byAsk = (a: Ask, b: Ask): number => b.memoryMb - a.memoryMb || b.diskMb - a.diskMb;

/** One process's items with one ask. `context` is what the auction knows about them, so that nothing is looked up twice. */
interface Group<Context> {
  readonly ask: Ask;
  readonly guid: string;
  readonly context: Context;
  readonly process: { lastIndex: number };
  readonly items: WaitingLRP[];
}

export interface WorkInOrder<Context> {
  readonly work: Work;
  readonly context: Context;
}

/**
 * Every piece of work once, whatever order and however often it came in. `contextOf` is called once for each process and ask,
 * and for each task. Sorts processes, not instances: a quarter of a million instances are cut into buckets by index.
 */
export function inAuctionOrder<Context>(
  waiting: readonly Work[],
  contextOf: (work: Work) => Context,
): readonly WorkInOrder<Context>[] {
  const { groups, tasks } = gather(waiting, contextOf);
  const buckets = cutByIndex(groups);
  const order: WorkInOrder<Context>[] = [];
  appendOnce(order, buckets.get(0) ?? []);
  let last: WaitingTask | undefined;
  for (const task of tasks.sort((a, b) => byAsk(a.ask, b.ask) || byText(a.taskGuid, b.taskGuid))) {
    if (task.key !== last?.key) order.push({ work: task, context: contextOf(task) });
    last = task;
  }
  for (const [index, bucket] of [...buckets].sort(([a], [b]) => a - b)) if (index !== 0) appendOnce(order, bucket);
  return order;
}

function gather<Context>(waiting: readonly Work[], contextOf: (work: Work) => Context) {
  const latest = new Map<string, Group<Context>>();
  const groups: Group<Context>[] = [];
  const tasks: WaitingTask[] = [];
  for (const work of waiting) {
    if (work.kind === "task") {
      tasks.push(work);
      continue;
    }
    const known = latest.get(work.processGuid);
    if (known?.ask === work.ask) {
      known.items.push(work);
      continue;
    }
    const process = known === undefined ? { lastIndex: -1 } : known.process;
    const group = { ask: work.ask, guid: work.processGuid, context: contextOf(work), process, items: [work] };
    latest.set(work.processGuid, group);
    groups.push(group);
  }
  return { groups: groups.sort((a, b) => byAsk(a.ask, b.ask) || byText(a.guid, b.guid)), tasks };
}

interface Entry<Context> {
  readonly work: WaitingLRP;
  readonly group: Group<Context>;
}

/** Groups come sorted, so each bucket is sorted as well. */
function cutByIndex<Context>(groups: readonly Group<Context>[]): Map<number, Entry<Context>[]> {
  const buckets = new Map<number, Entry<Context>[]>();
  for (const group of groups) {
    for (const work of group.items) {
      const bucket = buckets.get(work.index);
      if (bucket === undefined) buckets.set(work.index, [{ work, group }]);
      else bucket.push({ work, group });
    }
  }
  return buckets;
}

/** Within a bucket all items have one index, so a process that had it before is a repeat. */
function appendOnce<Context>(order: WorkInOrder<Context>[], bucket: readonly Entry<Context>[]): void {
  for (const { work, group } of bucket) {
    if (group.process.lastIndex === work.index) continue;
    group.process.lastIndex = work.index;
    order.push({ work, context: group.context });
  }
}
