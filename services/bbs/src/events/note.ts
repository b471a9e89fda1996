// What one command changed, kept from its decision until its commit: the event streams are derived from it. Taken right after the
// writes were applied, since later commands change the tables before this one is stored.
import type {
  ActualLRP,
  Change,
  ClusterView,
  DesiredLRP,
  InstanceRows,
  RecordKind,
  RecordOf,
  SealedBytes,
  Tables,
  Task,
} from "@muster/shared/model";

/** What a command's caller and decision tell beside the rows. */
export interface CommandHints {
  /** The caller's `X-Vcap-Request-Id`; empty where Diego's events carry none. */
  readonly traceId: string;
  /** A crash report: told also where the rows show only a new UNCLAIMED one. */
  readonly crashed: boolean;
}

/** A record with what was sealed beside it at that time. */
export interface Sealed<Of> {
  readonly record: Of;
  readonly sealed: SealedBytes | undefined;
}

export interface BeforeAfter<Of> {
  readonly before: Of;
  readonly after: Of;
}

export interface CommandNote extends CommandHints {
  readonly desired: readonly BeforeAfter<Sealed<DesiredLRP> | undefined>[];
  /** All rows of each (process guid, index) that the command touched, the untouched ones among them too. */
  readonly instances: readonly BeforeAfter<InstanceRows>[];
  readonly tasks: readonly BeforeAfter<Sealed<Task> | undefined>[];
}

/** Which streams somebody follows. */
export interface Wanted {
  readonly desired: boolean;
  readonly instances: boolean;
  readonly tasks: boolean;
}

/** `tables` hold the command's writes already, and nothing later. */
export function takeNote(
  tables: Pick<Tables, "rows" | "runInfos" | "taskDefinitions">,
  changes: readonly Change[],
  hints: CommandHints,
  wanted: Wanted,
): CommandNote {
  return {
    ...hints,
    desired: wanted.desired ? recordsOf(changes, "desiredLRP", "runInfo", tables.runInfos) : [],
    instances: wanted.instances ? instancesOf(tables, changes) : [],
    tasks: wanted.tasks ? recordsOf(changes, "task", "taskDefinition", tables.taskDefinitions) : [],
  };
}

/** A kind's first and last state in one command, by key, in order of first mention. */
function spanOf<Kind extends RecordKind>(
  changes: readonly Change[],
  kind: Kind,
): Map<string, BeforeAfter<RecordOf[Kind] | undefined>> {
  const spans = new Map<string, BeforeAfter<RecordOf[Kind] | undefined>>();
  for (const change of changes) {
    if (change.kind !== kind) continue;
    const { before, after } = change as BeforeAfter<RecordOf[Kind] | undefined>;
    spans.set(change.key, { before: spans.has(change.key) ? spans.get(change.key)?.before : before, after });
  }
  return spans;
}

function recordsOf<Kind extends "desiredLRP" | "task">(
  changes: readonly Change[],
  kind: Kind,
  secret: "runInfo" | "taskDefinition",
  secrets: ReadonlyMap<string, { readonly sealed: SealedBytes }>,
): BeforeAfter<Sealed<RecordOf[Kind]> | undefined>[] {
  const sealed = spanOf(changes, secret);
  const unchanged = (key: string): SealedBytes | undefined => secrets.get(key)?.sealed;
  return [...spanOf(changes, kind)].map(([key, { before, after }]) => {
    const beside = sealed.get(key);
    const at = (record: RecordOf[Kind] | undefined, side: "before" | "after"): Sealed<RecordOf[Kind]> | undefined =>
      record === undefined ? undefined : { record, sealed: beside === undefined ? unchanged(key) : beside[side]?.sealed };
    return { before: at(before, "before"), after: at(after, "after") };
  });
}

function instancesOf(tables: Pick<ClusterView, "rows">, changes: readonly Change[]): BeforeAfter<InstanceRows>[] {
  const [only] = changes;
  // Nearly every report of a cell changes one row.
  if (changes.length === 1 && only?.kind === "actualLRP") {
    const row = only.after ?? only.before;
    return row === undefined ? [] : [spanOfRow(tables.rows(row.processGuid, row.index), row, only.before)];
  }
  const spans = new Map<string, BeforeAfter<InstanceRows>>();
  for (const { before, after } of spanOf(changes, "actualLRP").values()) {
    const row = after ?? before;
    if (row === undefined) continue;
    const key = `${row.processGuid}/${row.index}`;
    const known = spans.get(key);
    const rows = known?.after ?? tables.rows(row.processGuid, row.index);
    spans.set(
      key,
      known === undefined ? spanOfRow(rows, row, before) : { before: { ...known.before, [row.presence]: before }, after: rows },
    );
  }
  return [...spans.values()];
}

/** The rows of an index with one of them as it was before. */
const spanOfRow = (after: InstanceRows, { presence }: ActualLRP, before: ActualLRP | undefined): BeforeAfter<InstanceRows> => ({
  before: {
    ORDINARY: presence === "ORDINARY" ? before : after.ORDINARY,
    EVACUATING: presence === "EVACUATING" ? before : after.EVACUATING,
    SUSPECT: presence === "SUSPECT" ? before : after.SUSPECT,
  },
  after,
});
