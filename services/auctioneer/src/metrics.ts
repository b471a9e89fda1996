// The auctioneer's metrics; names are in docs/operations.md.
import { Counter, Gauge, Histogram, type Registry } from "@muster/shared/metrics";
import { type FailureReason, failureReasons, type Work } from "./plan/index.js";

type Kind = Work["kind"];

/** What the gauges read. */
export interface AuctioneerGauges {
  readonly book: { readonly size: number; readonly due: number; readonly flights: number };
  readonly fleet: { readonly size: number };
  readonly longestWaitMs: number;
}

export interface AuctioneerMetrics {
  /** An auction over so many pieces of work ended. */
  auctioned(durationMs: number, work: number): void;
  placed(kind: Kind, waitedMs: number): void;
  failed(kind: Kind, reason: FailureReason): void;
  /** The cell refused what the auction gave it. */
  refused(kind: Kind): void;
  /** A cell told its whole state, so long after its stream was opened. */
  cellStateFetched(openedMs: number): void;
  /** Streams that broke or fell silent. */
  cellStateFailed(count: number): void;
  performed(durationMs: number, ok: boolean): void;
  called(call: string, code: string, durationMs: number): void;
  lockHeld(held: boolean): void;
  /** Gauges read this runner from now on. */
  follow(gauges: AuctioneerGauges): void;
}

const seconds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];

export function auctioneerMetrics(registry: Registry): AuctioneerMetrics {
  const registers = [registry];
  const counter = (name: string, help: string, labelNames: string[] = []) => new Counter({ name, help, labelNames, registers });
  const histogram = (name: string, help: string, labelNames: string[] = [], buckets = seconds) =>
    new Histogram({ name, help, labelNames, buckets, registers });
  const auctions = {
    lrp: counter("auctioneer_lrp_auctions_total", "LRP instances auctioned, by result: placed, failed, or refused by the cell.", [
      "result",
    ]),
    task: counter("auctioneer_task_auctions_total", "Tasks auctioned, by result: placed, failed, or refused by the cell.", [
      "result",
    ]),
  };
  const failures = counter("auctioneer_placement_failures_total", "Work that failed in an auction, by kind and reason.", [
    "kind",
    "reason",
  ]);
  const fetch = histogram("auctioneer_fetch_states_duration_seconds", "From opening a cell's state stream to its whole state.");
  const broken = counter("auctioneer_cell_state_requests_failed_total", "Cell state streams that broke or fell silent.");
  const auction = histogram("auctioneer_auction_duration_seconds", "Time of one auction, planning and judging.");
  const batch = histogram(
    "auctioneer_auction_work",
    "Pieces of work in one auction.",
    [],
    [1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000],
  );
  const waited = histogram("auctioneer_placement_wait_seconds", "From seeing work wait to placing it.", ["kind"]);
  const perform = histogram("auctioneer_perform_duration_seconds", "Requests to cells to take work, by result.", ["result"]);
  const calls = histogram("auctioneer_request_duration_seconds", "From a call's arrival to its reply, by call and code.", [
    "call",
    "code",
  ]);
  const lock = new Gauge({ name: "auctioneer_lock_held", help: "1 while this auctioneer holds the lock.", registers });
  let followed: AuctioneerGauges | undefined;
  const gauge = (name: string, help: string, read: (gauges: AuctioneerGauges) => number): Gauge =>
    new Gauge({
      name,
      help,
      registers,
      collect() {
        this.set(followed === undefined ? 0 : read(followed));
      },
    });
  gauge("auctioneer_work_waiting", "Instances and tasks without a place, those in flight included.", ({ book }) => book.size);
  gauge("auctioneer_work_due", "Of these, the ones that the next auction takes.", ({ book }) => book.due);
  gauge("auctioneer_work_in_flight", "Of these, the ones handed to a cell and not yet claimed.", ({ book }) => book.flights);
  gauge(
    "auctioneer_longest_wait_seconds",
    "For how long this auctioneer has seen the oldest waiting work wait; 0: none.",
    ({ longestWaitMs }) => longestWaitMs / 1_000,
  );
  gauge("auctioneer_cells_followed", "Cells whose state is followed.", ({ fleet }) => fleet.size);
  for (const kind of ["lrp", "task"] as const) {
    for (const result of ["placed", "failed", "refused"]) auctions[kind].inc({ result }, 0);
    for (const reason of failureReasons) failures.inc({ kind, reason }, 0);
  }
  lock.set(0);
  return {
    auctioned: (durationMs, work) => {
      auction.observe(durationMs / 1_000);
      batch.observe(work);
    },
    placed: (kind, waitedMs) => {
      auctions[kind].inc({ result: "placed" });
      waited.observe({ kind }, waitedMs / 1_000);
    },
    failed: (kind, reason) => {
      auctions[kind].inc({ result: "failed" });
      failures.inc({ kind, reason });
    },
    refused: (kind) => auctions[kind].inc({ result: "refused" }),
    cellStateFetched: (openedMs) => fetch.observe(openedMs / 1_000),
    cellStateFailed: (count) => broken.inc(count),
    performed: (durationMs, ok) => perform.observe({ result: ok ? "answered" : "failed" }, durationMs / 1_000),
    called: (call, code, durationMs) => calls.observe({ call, code }, durationMs / 1_000),
    lockHeld: (held) => lock.set(held ? 1 : 0),
    follow: (gauges) => {
      followed = gauges;
    },
  };
}
