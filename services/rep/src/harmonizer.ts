// Keeps rows and containers in harmony: gathers facts of what changed, plans, and carries the plan out over the session.
import { DesiredLRP } from "@muster/proto/models/desired_lrp";
import type { ReportItem, ReportReply } from "@muster/proto/muster/v1/report";
import {
  type ActualLRP,
  asInstanceGuid,
  asProcessGuid,
  type Change,
  type InstanceGuid,
  type ProcessGuid,
} from "@muster/shared/model";
import { againMs, type HarmonyOptions, oncePerTick, Quiet, Starter, settleMs } from "./harmony.js";
import {
  type Accepted,
  acceptedNothing,
  buildRunRequest,
  type ContainerRecord,
  type HarmonizeMode,
  type InstanceFacts,
  instancesTouched,
  instanceThatLostItsRow,
  planHarmonize,
  planReply,
  publishedOf,
  type ReportKind,
  type ReportStep,
  texts,
} from "./plan/index.js";
import { reportItem } from "./report/items.js";

export interface HarmonizerOptions extends HarmonyOptions {
  readonly fetchDesiredLRP: (processGuid: string, signal: AbortSignal) => Promise<DesiredLRP>;
  readonly evacuating: () => boolean;
  /** The comparison of everything is due: for those who keep something else in harmony at the same pace. */
  readonly onComparison: () => void;
  readonly onBulkSync: (durationMs: number) => void;
}

/** Where an instance's row is looked for. */
interface Slot {
  readonly processGuid: ProcessGuid;
  readonly index: number;
}

/** A reservation that was never claimed. Source: cell.md section 5. */
const expiryMs = 60_000;
/**
 * Between two messages of reports. What ends a pause is reported at once; what follows, as when the containers of one auction start one after
 * the other, travels together, and so do its replies and the changes of its rows on their way back.
 */
const reportGapMs = 50;
/** Between comparisons while the cell is being emptied (rule R4). Source: cell.md section 4. */
export const evacuationPollMs = 10_000;

const kindOfCase: Readonly<Record<string, ReportKind>> = {
  claimed: "claimed",
  started: "started",
  crashed: "crashed",
  removed: "removed",
  removeEvacuating: "remove-evacuating",
  evacuateClaimed: "evacuate-claimed",
  evacuateRunning: "evacuate-running",
  evacuateStopped: "evacuate-stopped",
  evacuateCrashed: "evacuate-crashed",
  cancelEvacuation: "cancel-evacuation",
};

export class Harmonizer {
  readonly #options: HarmonizerOptions;
  readonly #dirty = new Map<InstanceGuid, Slot>();
  readonly #accepted = new Map<InstanceGuid, Accepted>();
  readonly #inFlight = new Set<InstanceGuid>();
  readonly #quiet: Quiet<InstanceGuid>;
  readonly #starter: Starter;
  readonly #schedule = oncePerTick(() => this.#turn());
  readonly #refreshing = new Set<InstanceGuid>();
  /** Aborted to end the present pause between comparisons. */
  #pause = new AbortController();
  #mode: HarmonizeMode = "changes";
  #sentAtMs = Number.NEGATIVE_INFINITY;
  /** A turn is due at the end of the gap. */
  #gapRuns = false;
  #signal: AbortSignal = AbortSignal.abort();

  constructor(options: HarmonizerOptions) {
    this.#options = options;
    this.#quiet = new Quiet(options.clock);
    this.#starter = new Starter(options);
    options.registry.onChange((guid, record, before) => {
      if ((record ?? before)?.task !== undefined) return;
      const key = (record ?? before)?.key;
      if (record === undefined) this.#accepted.delete(guid);
      if (key !== undefined) this.#look(guid, key);
    });
    options.mirror.onChanges((changes, snapshot) => this.#onRows(changes, snapshot));
  }

  /** Compares everything every `pollingMs`, more often while evacuating, until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, cell, evacuating, onComparison } = this.#options;
    this.#signal = signal;
    while (!signal.aborted) {
      this.#pause = new AbortController();
      const pauseMs = evacuating() ? Math.min(evacuationPollMs, cell.pollingMs) : cell.pollingMs;
      await clock.sleep(pauseMs, AbortSignal.any([signal, this.#pause.signal])).catch(() => undefined);
      if (signal.aborted) return;
      this.#expire();
      this.everything();
      onComparison();
    }
  }

  /** Compares everything now, and goes on at the pace that holds from here on. */
  compareNow(): void {
    this.#pause.abort(new Error("compare now"));
  }

  /** Whether the BBS has said of this container that it stays until it is replaced. */
  staysForNow(guid: InstanceGuid): boolean {
    return this.#accepted.get(guid)?.what === "evacuating";
  }

  /** Looks at every container and every row at the next turn, also at those believed to be in order. */
  everything(): void {
    this.#mode = "everything";
    this.#quiet.sweep();
    for (const record of this.#options.registry.all()) {
      if (record.task === undefined) this.#dirty.set(record.instanceGuid, record.key);
    }
    for (const row of this.#options.mirror.tables.actualLRPs.values()) {
      if (row.instanceKey !== undefined) this.#dirty.set(row.instanceKey.instanceGuid, row);
    }
    this.#schedule();
  }

  onSessionClosed(): void {
    this.#inFlight.clear();
  }

  onReply(item: ReportItem, reply: ReportReply): void {
    const kind = kindOfCase[item.report?.$case ?? ""];
    const key = item.actualLrpKey;
    if (kind === undefined || key === undefined) return;
    const guid = asInstanceGuid(item.actualLrpInstanceKey?.instanceGuid ?? "");
    this.#inFlight.delete(guid);
    this.#carryOut(guid, kind, item, reply);
    this.#look(guid, { processGuid: asProcessGuid(key.processGuid), index: key.index });
  }

  #carryOut(guid: InstanceGuid, kind: ReportKind, item: ReportItem, reply: ReportReply): void {
    const { executor, log } = this.#options;
    const step = planReply(kind, reply.errorType, reply.keepContainer);
    if (reply.errorType !== "") {
      const fields = { instance_guid: guid, process_guid: item.actualLrpKey?.processGuid, index: item.actualLrpKey?.index };
      log.info(
        { ...fields, reason: `${reply.errorType}: ${reply.errorMessage}`, step: kind },
        `report refused, container: ${step}`,
      );
    }
    switch (step) {
      case "run":
        if (this.#options.registry.get(guid) === undefined) return;
        this.#accepted.set(guid, { what: "claimed" });
        void this.#start(guid, reply.desiredLrp);
        return;
      case "confirm": {
        const { registry } = this.#options;
        const record = registry.get(guid);
        // The mirror has yet to show that an update mark is gone.
        if (this.#marked(item)) this.#quietFor(guid, item, againMs);
        const sent = item.report?.$case === "started" ? item.report.value : undefined;
        if (record !== undefined) {
          this.#accepted.set(guid, { what: "started", netInfo: record.netInfo, routable: sent?.routable ?? record.routable });
        }
        return;
      }
      case "keep":
        // A claimed one is asked about again with the next comparison; a running one is known to wait, for its row to go. Where the
        // mirror shows no row any more, the answer is older than that, or the row is yet to be shown.
        if (kind === "evacuate-running" && this.#options.registry.get(guid) !== undefined && this.#hasRow(guid, item)) {
          this.#accepted.set(guid, { what: "evacuating" });
        } else this.#quietFor(guid, item, kind === "evacuate-claimed" ? evacuationPollMs : againMs);
        return;
      case "discard":
        executor.discard(guid);
        return;
      case "stop":
        executor.stop(guid);
        return;
      case "delete":
        this.#quiet.hush(guid, settleMs);
        executor.delete(guid);
        return;
      case "later":
        log.error({ instance_guid: guid, reason: `${reply.errorType}: ${reply.errorMessage}`, step: kind }, "report is faulty");
        this.#quietFor(guid, item, this.#options.cell.pollingMs);
        return;
      case "again":
        this.#quietFor(guid, item, againMs);
        return;
    }
  }

  #quietFor(guid: InstanceGuid, item: ReportItem, ms: number): void {
    this.#quiet.hush(guid, ms);
    this.#options.clock.after(ms, () => this.#lookAgain(guid, item));
  }

  #hasRow(guid: InstanceGuid, item: ReportItem): boolean {
    const key = item.actualLrpKey;
    if (key === undefined) return false;
    const rows = this.#options.mirror.tables.rows(asProcessGuid(key.processGuid), key.index);
    return [rows.ORDINARY, rows.EVACUATING, rows.SUSPECT].some((row) => row?.instanceKey?.instanceGuid === guid);
  }

  #marked(item: ReportItem): boolean {
    const key = item.actualLrpKey;
    if (key === undefined) return false;
    return this.#options.mirror.tables.rows(asProcessGuid(key.processGuid), key.index).ORDINARY?.updateMarked === true;
  }

  #lookAgain(guid: InstanceGuid, item: ReportItem): void {
    const key = item.actualLrpKey;
    if (key !== undefined) this.#look(guid, { processGuid: asProcessGuid(key.processGuid), index: key.index });
  }

  #onRows(changes: readonly Change[], snapshot: boolean): void {
    for (const change of changes) {
      if (change.kind !== "actualLRP") continue;
      const lost = instanceThatLostItsRow(change.before, change.after);
      // Whatever the BBS accepted of it is void now: it has to be asked again whether the container may stay.
      if (lost !== undefined && !this.#copied(lost, change.before)) this.#accepted.delete(lost);
      const row = change.after ?? change.before;
      if (row === undefined) continue;
      for (const guid of instancesTouched(change)) this.#look(guid, row);
    }
    if (snapshot) this.everything();
  }

  /** Evacuation gives an instance another row: nothing is lost by that. */
  #copied(guid: InstanceGuid, before: ActualLRP | undefined): boolean {
    if (before === undefined || !this.#options.evacuating()) return false;
    const { EVACUATING } = this.#options.mirror.tables.rows(before.processGuid, before.index);
    return EVACUATING?.instanceKey?.instanceGuid === guid;
  }

  #look(guid: InstanceGuid, slot: Slot): void {
    this.#dirty.set(guid, slot);
    this.#schedule();
  }

  /** One turn for everything that changed in a tick. */
  #turn(): void {
    const { mirror, session, clock, adopting, executor, onBulkSync } = this.#options;
    const startedMs = clock.elapsedMs();
    const mode = mirror.synced ? this.#mode : "changes";
    const facts = [...this.#dirty].map(([guid, slot]) => this.#facts(guid, slot));
    const plan = planHarmonize(facts, mirror.synced && !adopting(), mode);
    if (this.#mode === "everything") onBulkSync(clock.elapsedMs() - startedMs);
    // Cleared first: carrying the plan out changes containers, which must be looked at again.
    this.#dirty.clear();
    this.#mode = "changes";
    for (const step of plan) if (step.do === "stop") executor.stop(step.instanceGuid);
    for (const step of plan) if (step.do === "refresh") void this.#refresh(step.instanceGuid);
    // Without a session nothing is reported: everything is looked at again when the next one is decided.
    if (session.phase !== "decided") return;
    const reports = plan.filter((step) => step.do === "report");
    const gapMs = this.#sentAtMs + reportGapMs - clock.elapsedMs();
    if (gapMs > 0 && reports.length > 0) this.#turnAfter(gapMs);
    const room = gapMs > 0 ? 0 : session.room;
    // What finds no room keeps its place: replies make room and bring the next turn.
    for (const step of reports.slice(room)) this.#dirty.set(step.instanceGuid, step.key);
    if (reports.length > room) this.#mode = mode;
    this.#send(reports.slice(0, room));
  }

  #turnAfter(ms: number): void {
    if (this.#gapRuns) return;
    this.#gapRuns = true;
    this.#options.clock.after(ms, () => {
      this.#gapRuns = false;
      this.#schedule();
    });
  }

  #send(steps: readonly ReportStep[]): void {
    const { session, cell, registry, clock } = this.#options;
    if (steps.length === 0) return;
    this.#sentAtMs = clock.elapsedMs();
    for (const step of steps) this.#inFlight.add(step.instanceGuid);
    session.send(
      steps.map((step) => reportItem(step.report, step.key, step.instanceGuid, cell, registry.get(step.instanceGuid))),
    );
  }

  #facts(instanceGuid: InstanceGuid, slot: Slot): InstanceFacts {
    const { registry, executor, mirror, cell } = this.#options;
    const quiet = this.#quiet.has(instanceGuid);
    const all = mirror.tables.rows(slot.processGuid, slot.index);
    const rows = [all.ORDINARY, all.EVACUATING, all.SUSPECT].filter(
      (row): row is ActualLRP => row?.instanceKey?.instanceGuid === instanceGuid && row.instanceKey.cellId === cell.cellId,
    );
    return {
      instanceGuid,
      container: registry.get(instanceGuid),
      rows,
      accepted: this.#accepted.get(instanceGuid) ?? acceptedNothing,
      settling:
        quiet || this.#inFlight.has(instanceGuid) || this.#refreshing.has(instanceGuid) || executor.isDestroying(instanceGuid),
      evacuating: this.#options.evacuating(),
    };
  }

  /** A claim was accepted; what to run mostly comes with the answer, and is asked for where it does not. */
  #start(guid: InstanceGuid, answered: Uint8Array): Promise<void> {
    const { fetchDesiredLRP, lends } = this.#options;
    let given = answered.byteLength === 0 ? undefined : answered;
    return this.#starter.start(guid, this.#signal, async ({ key }) => {
      const bytes = given;
      // What could not be read is not tried again.
      given = undefined;
      const desired = bytes === undefined ? await fetchDesiredLRP(key.processGuid, this.#signal) : DesiredLRP.decode(bytes);
      return buildRunRequest(desired, key, guid, lends);
    });
  }

  /**
   * Reads what the instance is published with anew and reports it. The mark goes with the report's commit; should it be there still, or
   * again, the same is done once more.
   */
  async #refresh(guid: InstanceGuid): Promise<void> {
    const { registry, executor, log, clock, fetchDesiredLRP } = this.#options;
    const record = registry.get(guid);
    if (record === undefined || this.#refreshing.has(guid)) return;
    this.#refreshing.add(guid);
    try {
      const desired = await fetchDesiredLRP(record.key.processGuid, this.#signal);
      this.#accepted.set(guid, { what: "claimed" });
      executor.publish(guid, publishedOf(desired, record.key, guid));
      this.#refreshing.delete(guid);
      this.#report(guid, record.key);
    } catch (err) {
      // A DesiredLRP that is gone has its instances stopped by other means.
      if (!this.#signal.aborted)
        log.warn({ err, instance_guid: guid, retry_ms: againMs }, "routes and tags could not be fetched");
      this.#quiet.hush(guid, againMs);
      clock.after(againMs, () => this.#look(guid, record.key));
    } finally {
      this.#refreshing.delete(guid);
    }
  }

  /** Reports a running container outside the plan's turn; without room or a session that is tried again a little later. */
  #report(guid: InstanceGuid, key: ContainerRecord["key"]): void {
    const { session, registry } = this.#options;
    const due = registry.get(guid)?.state === "running" && !this.#inFlight.has(guid);
    if (!due || session.phase !== "decided" || session.room < 1) {
      this.#quiet.hush(guid, againMs);
      this.#options.clock.after(againMs, () => this.#look(guid, key));
      return;
    }
    this.#send([{ do: "report", report: "started", key, instanceGuid: guid, reason: "row-differs" }]);
  }

  #expire(): void {
    const { registry, executor, clock } = this.#options;
    for (const record of [...registry.all()]) {
      const expired = record.state === "reserved" && clock.elapsedMs() - record.reservedAtMs >= expiryMs;
      if (expired) executor.refuse(record.instanceGuid, "crashed", texts.expired);
    }
  }
}
