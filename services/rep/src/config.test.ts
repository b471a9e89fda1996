// The rep's settings: defaults, bounds, and what is refused together.
import { parseConfig } from "@muster/shared/config";
import { expect, it } from "vitest";
import { repConfigSchema } from "./config.js";

const least = {
  name: "cell-1",
  cell_id: "cell-1",
  tls: { ca_file: "ca", cert_file: "c", key_file: "k" },
  metrics_address: "127.0.0.1:2801",
  bbs_addresses: ["127.0.0.1:8891"],
  listen_address: "127.0.0.1:1801",
  home: "/home",
};
const parse = (over: object) => parseConfig(repConfigSchema, JSON.stringify({ ...least, ...over }), "rep.json");

it("has the documented defaults", () => {
  expect(parse({})).toMatchObject({
    zone: "z1",
    runtime: "runc",
    host_address: "127.0.0.1",
    host_port_first: 61_001,
    memory_mb: 0,
    presence_ttl_ms: 5_000,
    polling_interval_ms: 30_000,
    graceful_shutdown_ms: 10_000,
  });
});

it.each([
  { over: { colour: "red" }, text: /colour/ },
  { over: { cell_id: "a/b" }, text: /cell_id: expected 1 to 64/ },
  { over: { runtime: "docker" }, text: /runtime/ },
  { over: { adoption_timeout_ms: 60_000 }, text: /adoption_timeout_ms/ },
  { over: { host_port_first: 62_000, host_port_last: 61_000 }, text: /host_port_last: the last port comes before the first/ },
  { over: { bbs_addresses: [] }, text: /bbs_addresses/ },
])("refuses $over", ({ over, text }) => {
  expect(() => parse(over)).toThrow(text);
});

it("has certificates of instances for a day, with EC keys, once an authority is named whole", () => {
  expect(parse({}).instance_identity).toBeUndefined();
  expect(parse({ instance_identity: { cert_file: "c", key_file: "k" } }).instance_identity).toEqual({
    cert_file: "c",
    key_file: "k",
    validity_ms: 86_400_000,
    key_type: "ec",
  });
  expect(() => parse({ instance_identity: { cert_file: "c" } })).toThrow(/instance_identity\.key_file/);
  expect(() => parse({ trusted_system_certificates_dir: "here" })).toThrow(/trusted_system_certificates_dir/);
});
