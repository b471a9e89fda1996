// Why work has no place, from every cell's first refusal, and what would give it one. Pure.

/** One cell's refusal, as `--json` shows it. */
export interface Refusal {
  readonly cell_id: string;
  readonly zone: string;
  readonly filter: string;
  readonly asked: string;
  readonly available: string;
}

export interface Answer {
  readonly why: string;
  /** One sentence; says so when there is nothing to do. */
  readonly what_to_do: string;
}

/** What one filter's refusals come to. `who` is how to ask for less: an app is pushed, a task is run. */
type Reading = (refusals: readonly Refusal[], who: Who) => Answer;

/** How the user says what the work needs. */
export interface Who {
  readonly kind: "app" | "task";
  readonly name: string;
}

const verbOf = ({ kind, name }: Who): string =>
  kind === "app" ? `muster push ${name}` : `muster run-task ${name} --command CMD`;

const named = (cellIds: readonly string[]): string => {
  const ids = [...cellIds].sort();
  const shown = ids.slice(0, mostCells).join(", ");
  return ids.length > mostCells ? `${shown} and ${ids.length - mostCells} more` : shown;
};
const idsOf = (refusals: readonly Refusal[]): string => named(refusals.map(({ cell_id }) => cell_id));
/** So many cells are named in a sentence. */
const mostCells = 5;

/** `cell-1 offers`, `cell-1, cell-2 offer`. */
const cellsThat = (refusals: readonly Refusal[], one: string, many: string): string =>
  `${idsOf(refusals)} ${refusals.length === 1 ? one : many}`;

const amounts = (text: string): readonly number[] => [...text.matchAll(/(\d+) MB/g)].map((match) => Number(match[1]));

const flagsOf = { memory: { app: "-m", up: "--cell-memory" }, disk: { app: "-k", up: "--cell-disk" } } as const;

/** Memory and disk: too much for any cell even when it is empty, or for what is free now. */
const tooMuch =
  (what: "memory" | "disk"): Reading =>
  (refusals, who) => {
    const flag = flagsOf[what];
    const asked = Math.max(...refusals.map((refusal) => amounts(refusal.asked)[0] ?? 0));
    const free = Math.max(...refusals.map((refusal) => amounts(refusal.available)[0] ?? 0));
    const total = Math.max(...refusals.map((refusal) => amounts(refusal.available)[1] ?? 0));
    if (asked > total) {
      return {
        why: `it asks for ${asked} MB of ${what}, and the largest cell that could take it has ${total} MB altogether`,
        what_to_do: `ask for at most ${total} MB with \`${verbOf(who)} ${flag.app} SIZE\`, or let \`muster up\` make larger cells with ${flag.up} SIZE`,
      };
    }
    return {
      why: `it asks for ${asked} MB of ${what}, and no cell that could take it has more than ${free} MB free`,
      what_to_do: `free ${what} by scaling or deleting apps, ask for less with \`${verbOf(who)} ${flag.app} SIZE\`, or add a cell; it is placed as soon as there is room`,
    };
  };

/** What these cells have, each kind of answer once. */
const offers = (refusals: readonly Refusal[]): string =>
  [...new Set(refusals.map(({ available }) => available))].sort().join("; ");

const placementTags: Reading = (refusals) => {
  const asked = refusals[0]?.asked ?? "none";
  const offered = offers(refusals);
  if (asked === "none") {
    return {
      why: `it asks for no placement tags, and ${cellsThat(refusals, "takes", "take")} only work that asks for theirs (${offered})`,
      what_to_do: "add a cell without placement tags, or desire the work with the tags of these cells",
    };
  }
  return {
    why: `it asks for cells with the placement tags ${asked}, and ${cellsThat(refusals, "offers", "offer")} ${offered}`,
    what_to_do: `add a cell with the placement tags ${asked}, or desire the work without them`,
  };
};

const readings: Readonly<Record<string, Reading>> = {
  memory: tooMuch("memory"),
  disk: tooMuch("disk"),
  containers: (refusals) => ({
    why: `${cellsThat(refusals, "has", "have")} no room for another container (${refusals[0]?.available ?? ""} left)`,
    what_to_do:
      "scale or delete apps, add a cell, or let `muster up` allow more with --cell-containers N; it is placed as soon as there is room",
  }),
  "placement-tags": placementTags,
  "volume-drivers": (refusals) => ({
    why: `it needs the volume drivers ${refusals[0]?.asked ?? ""}, and ${cellsThat(refusals, "offers", "offer")} ${offers(refusals)}`,
    what_to_do: `add a cell with the volume drivers ${refusals[0]?.asked ?? ""}`,
  }),
  rootfs: (refusals) => ({
    why: `it needs a cell that runs ${refusals[0]?.asked ?? "its root file system"}, and ${cellsThat(refusals, "does", "do")} not`,
    what_to_do: `add a cell that runs ${refusals[0]?.asked ?? "it"}, or use an image`,
  }),
  evacuating: (refusals) => ({
    why: `${idsOf(refusals)} could take it and ${refusals.length === 1 ? "is" : "are"} being emptied`,
    what_to_do: `add a cell, or take an evacuation back with \`muster evacuate ${refusals[0]?.cell_id ?? "CELL"} --cancel\``,
  }),
  unhealthy: (refusals) => ({
    why: `${idsOf(refusals)} could take it and ${refusals.length === 1 ? "is" : "are"} unhealthy (${refusals[0]?.available ?? ""})`,
    what_to_do: `mend ${refusals[0]?.cell_id ?? "the cell"}: its log says what is wrong, \`muster cells\` when it is well again`,
  }),
  silent: (refusals) => ({
    why: `the auctioneer hears nothing of ${idsOf(refusals)}`,
    what_to_do: `see \`muster status\` and the log of ${refusals[0]?.cell_id ?? "the cell"}: its service (the rep) hangs, or cannot be reached; end it, and \`muster up\` starts it anew`,
  }),
  refused: ([first]) => ({
    why: `${first?.cell_id ?? "the cell"} refused it: ${first?.available ?? ""}`,
    what_to_do: "nothing: it is offered again by itself; if it stays so, see that cell's log",
  }),
};

/** Which cells came closest to taking the work, in this order. */
const closestFirst = [
  "refused",
  "containers",
  "disk",
  "memory",
  "placement-tags",
  "volume-drivers",
  "rootfs",
  "unhealthy",
  "evacuating",
  "silent",
];
/** What a person can take back or mend, said beside the reading of the closest cells. */
const alsoSaid: ReadonlySet<string> = new Set(["evacuating", "unhealthy", "silent"]);

/** No live cell: either none was ever there, or all are lost. */
function noCell(lost: readonly string[]): Answer {
  if (lost.length === 0) {
    return {
      why: "no cell that could take it is known",
      what_to_do: "see `muster cells`: without a cell nothing runs; it is placed as soon as there is one",
    };
  }
  return {
    why: `no cell is left: ${lostText(lost)}`,
    what_to_do: `bring ${named(lost)} back: \`muster status\` and the logs of these cells say what became of them; it is placed as soon as one is there`,
  };
}

const lostText = (lost: readonly string[]): string => `nobody hears of ${named(lost)} any more`;

/**
 * `error` is the placement error; `judged` is empty where there are no live cells; `lost` are cells that should be there and are not.
 */
export function whyNoPlace(error: string, judged: readonly Refusal[], who: Who, lost: readonly string[] = []): Answer {
  // What is lost by now may have refused when the auctioneer last judged.
  const refusals = judged.filter(({ cell_id }) => !lost.includes(cell_id));
  const noPlace = `has no place (${error})`;
  const filters = [...new Set(refusals.map(({ filter }) => filter))];
  const place = (filter: string): number => (closestFirst.indexOf(filter) + 1 || closestFirst.length + 1) - 1;
  const [closest, ...others] = filters.sort((a, b) => place(a) - place(b));
  if (closest === undefined) {
    const { why, what_to_do } = noCell(lost);
    return { why: `${noPlace}: ${why}`, what_to_do };
  }
  const of = (filter: string): Answer => {
    const those = refusals.filter((refusal) => refusal.filter === filter);
    const [first] = those;
    return (
      readings[filter]?.(those, who) ?? {
        why: `${cellsThat(those, "lacks", "lack")} ${filter}: asked ${first?.asked ?? ""}, available ${first?.available ?? ""}`,
        what_to_do: "add a cell that has it",
      }
    );
  };
  const { why, what_to_do } = of(closest);
  const also = others.filter((filter) => alsoSaid.has(filter)).map((filter) => of(filter).why);
  const missing = lost.length === 0 ? [] : [lostText(lost)];
  return { why: [`${noPlace}: ${why}`, ...also, ...missing].join("; "), what_to_do };
}
