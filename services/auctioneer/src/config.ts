// The auctioneer's settings: one JSON file, every setting with unit, default and bounds.
import { addressSetting, bbsClientSettings, commonSettings, intSetting } from "@muster/shared/config";
import { z } from "zod";
import { type AuctionOptions, defaultAuctionOptions } from "./plan/index.js";
import { defaultRunnerSettings, type RunnerSettings } from "./runner/index.js";

const weight = (byDefault: number) => z.number().min(0).max(1_000).default(byDefault);
const times = defaultRunnerSettings;

export const auctioneerConfig = z.strictObject({
  ...commonSettings,
  ...bbsClientSettings,
  /** Explain, Plan and CellStates over gRPC; bound while the lock is held. */
  grpc_address: addressSetting,
  /** Where others reach `grpc_address`; told in the lock's value. Default: the same. */
  advertise_address: addressSetting.optional(),
  /** How long the lock outlives its last renewal; Locket counts in seconds. */
  lock_ttl_seconds: intSetting({ default: 10, min: 1, max: 300 }),

  /** Score added for each starting container of a cell. Diego's default. */
  starting_container_weight: weight(defaultAuctionOptions.startingContainerWeight),
  /** Cluster-wide cap on starting containers; 0: none. */
  starting_container_count_maximum: intSetting({ default: 0, min: 0, max: 1_000_000 }),
  /** Above 0, cells of a zone fill in the order of their index. */
  bin_pack_first_fit_weight: weight(defaultAuctionOptions.binPackFirstFitWeight),

  /** Pieces of work in one auction; more waits for the next. */
  max_work_per_auction: intSetting({ default: times.maxWorkPerAuction, min: 1, max: 250_000 }),
  /** Work handed to cells and not yet claimed; more waits. At a pace below this in `in_flight_ms`, work would be placed twice. */
  max_in_flight: intSetting({ default: times.maxInFlight, min: 1, max: 250_000 }),
  /** At least so long between two auctions; what arrives meanwhile is auctioned together. */
  auction_gap_ms: intSetting({ default: times.auctionGapMs, min: 1, max: 10_000 }),
  /** A request to a cell to take work is given up after this, and repeated. */
  perform_deadline_ms: intSetting({ default: times.performDeadlineMs, min: 100, max: 60_000 }),
  /** Work that nobody claimed is placed anew after this. */
  in_flight_ms: intSetting({ default: times.inFlightMs, min: 1_000, max: 600_000 }),
  /** Work without a place is tried again after this at the latest. */
  retry_ms: intSetting({ default: times.retryMs, min: 1_000, max: 600_000 }),
  /** Calls to the BBS about failures, at a time. */
  failure_calls_in_flight: intSetting({ default: times.failureCallsInFlight, min: 1, max: 1_000 }),
  /** Without a word from the BBS for so long, nothing is placed. It speaks every 2 s. */
  watch_silence_ms: intSetting({ default: times.watchSilenceMs, min: 3_000, max: 600_000 }),
});

export type AuctioneerConfig = Readonly<z.infer<typeof auctioneerConfig>>;

export const auctionOptionsOf = (config: AuctioneerConfig): AuctionOptions => ({
  ...defaultAuctionOptions,
  startingContainerWeight: config.starting_container_weight,
  startingContainerCountMaximum: config.starting_container_count_maximum,
  binPackFirstFitWeight: config.bin_pack_first_fit_weight,
});

export const runnerSettingsOf = (config: AuctioneerConfig): RunnerSettings => ({
  auction: auctionOptionsOf(config),
  maxWorkPerAuction: config.max_work_per_auction,
  maxInFlight: config.max_in_flight,
  auctionGapMs: config.auction_gap_ms,
  performDeadlineMs: config.perform_deadline_ms,
  inFlightMs: config.in_flight_ms,
  retryMs: config.retry_ms,
  failureCallsInFlight: config.failure_calls_in_flight,
  watchSilenceMs: config.watch_silence_ms,
});
