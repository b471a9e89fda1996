// The settings: defaults are Diego's or the design's, unknown and out-of-range ones are refused by name.
import { parseConfig } from "@muster/shared/config";
import { OperatorError } from "@muster/shared/errors";
import { expect, it } from "vitest";
import { auctioneerConfig, runnerSettingsOf } from "./config.js";
import { defaultAuctionOptions } from "./plan/index.js";
import { defaultRunnerSettings } from "./runner/index.js";

const least = {
  name: "auctioneer-1",
  tls: { ca_file: "ca", cert_file: "cert", key_file: "key" },
  metrics_address: "127.0.0.1:9017",
  bbs_addresses: ["127.0.0.1:8891"],
  grpc_address: "127.0.0.1:9016",
};
const parse = (settings: object) => parseConfig(auctioneerConfig, JSON.stringify({ ...least, ...settings }), "test.json");

it("needs only who and where", () => {
  expect(runnerSettingsOf(parse({}))).toEqual({ ...defaultRunnerSettings, auction: defaultAuctionOptions });
});

it("hands on what is set", () => {
  const settings = parse({ starting_container_count_maximum: 7, bin_pack_first_fit_weight: 0.5, in_flight_ms: 9_000 });
  expect(runnerSettingsOf(settings)).toMatchObject({
    auction: { startingContainerCountMaximum: 7, binPackFirstFitWeight: 0.5 },
    inFlightMs: 9_000,
  });
});

it.each([
  { settings: { starting_weight: 1 }, named: "starting_weight" },
  { settings: { auction_gap_ms: 0 }, named: "auction_gap_ms" },
  { settings: { bin_pack_first_fit_weight: -1 }, named: "bin_pack_first_fit_weight" },
  { settings: { bbs_addresses: [] }, named: "bbs_addresses" },
  { settings: { grpc_address: "here" }, named: "grpc_address" },
])("refuses $settings", ({ settings, named }) => {
  expect(() => parse(settings)).toThrow(OperatorError);
  expect(() => parse(settings)).toThrow(named);
});
