// One cell's refusal of one piece of work, as `explain`, `plan` and `simulate` show it.

interface Verdict {
  readonly cellId: string;
  readonly zone: string;
  readonly filter: string;
  readonly asked: string;
  readonly available: string;
}

/** As `--json` shows it. */
export const verdictShape = (verdict: Verdict) => ({
  cell_id: verdict.cellId,
  zone: verdict.zone,
  filter: verdict.filter,
  asked: verdict.asked,
  available: verdict.available,
});

export const verdictRow = (verdict: ReturnType<typeof verdictShape>): string[] => Object.values(verdict);
export const verdictHeader = ["CELL", "ZONE", "REFUSED BY", "ASKED", "AVAILABLE"];
