// The rep's settings, each with its unit, default and bounds.
import { addressSetting, bbsClientSettings, commonSettings, intSetting } from "@muster/shared/config";
import { z } from "zod";
import { defaultCacheBytes } from "./assets/cache.js";
import { checkEveryMs } from "./garden-check.js";

const name = z.string().regex(/^[A-Za-z0-9_.-]{1,64}$/, "expected 1 to 64 of A-Z a-z 0-9 _ . -");

export const repConfigSchema = z
  .strictObject({
    ...commonSettings,
    ...bbsClientSettings,
    cell_id: name,
    /** Orders the cells of a zone when the auctioneer packs them one after another. */
    cell_index: intSetting({ default: 0, min: 0, max: 1_000_000 }),
    zone: z.string().max(64).default("z1"),
    listen_address: addressSetting,
    /** What presences and the auctioneer call the rep; the listen address when left out. */
    advertise_address: addressSetting.optional(),
    /** Where the cell keeps its identity, records, images and disks; one rep at a time. */
    home: z.string().min(1),
    runtime: z.enum(["runc", "simulated"]).default("runc"),
    /** Where mapped ports answer, and what rows call the cell. */
    host_address: z.string().min(1).default("127.0.0.1"),
    host_port_first: intSetting({ default: 61_001, min: 1_024, max: 65_535 }),
    host_port_last: intSetting({ default: 61_500, min: 1_024, max: 65_535 }),
    /** 0: what the garden has. MiB. */
    memory_mb: intSetting({ default: 0, min: 0, max: 100_000_000 }),
    disk_mb: intSetting({ default: 0, min: 0, max: 100_000_000 }),
    containers: intSetting({ default: 0, min: 0, max: 10_000 }),
    placement_tags: z.array(name).max(64).default([]),
    optional_placement_tags: z.array(name).max(64).default([]),
    /** host:port of registries reached over plain HTTP or without a verified certificate. */
    insecure_registries: z.array(addressSetting).max(64).default([]),
    /** PEM files of authorities that private registries' certificates are signed by. */
    registry_ca_files: z.array(z.string()).max(64).default([]),
    /** Holds `<stack>.tar`, `.tar.gz` or `.tgz` for each stack that `preloaded:<stack>` may name. */
    preloaded_dir: z.string().min(1).optional(),
    /** What the volume driver `local` offers, by name: a folder of this machine, to be read or written. */
    local_volumes: z
      .record(name, z.strictObject({ folder: z.string().startsWith("/"), access: z.enum(["r", "rw"]) }))
      .default({}),
    /** `address` or `address:port` where the platform answers on other machines: out of containers' reach whatever their rules say. */
    protected_addresses: z
      .array(z.string().regex(/^[0-9]{1,3}(\.[0-9]{1,3}){3}(:[0-9]{1,5})?$/, "expected an IPv4 address, or address:port"))
      .max(64)
      .default([]),
    /** The authority that signs instances' certificates, which are made for each container and renewed; left out: there are none. */
    instance_identity: z
      .strictObject({
        cert_file: z.string().min(1),
        key_file: z.string().min(1),
        /** Renewed half an hour before its end. */
        validity_ms: intSetting({ default: 86_400_000, min: 60_000, max: 31_536_000_000 }),
        /** `rsa` for apps that read no other; such a key takes a second of a core. */
        key_type: z.enum(["ec", "rsa"]).default("ec"),
      })
      .optional(),
    /** Certificates the operator trusts, lent to containers at their `trusted_system_certificates_path`; a folder of this machine. */
    trusted_system_certificates_dir: z.string().startsWith("/").optional(),
    /** How long the cell counts as present after its last heartbeat. */
    presence_ttl_ms: intSetting({ default: 5_000, min: 500, max: 300_000 }),
    /** Between comparisons of everything with everything. */
    polling_interval_ms: intSetting({ default: 30_000, min: 100, max: 600_000 }),
    /** Between SIGTERM and SIGKILL; Diego allows no less than 10 s, tests may. */
    graceful_shutdown_ms: intSetting({ default: 10_000, min: 100, max: 600_000 }),
    /** How long a restarted rep looks for the containers of its predecessor; the BBS waits 60 s for its inventory. */
    adoption_timeout_ms: intSetting({ default: 50_000, min: 1_000, max: 55_000 }),
    /** Between checks of the cell with a container of its own, as Diego's; 0: none are made. */
    container_check_interval_ms: intSetting({ default: checkEveryMs, min: 0, max: 86_400_000 }),
    /** What the download cache may hold on disk; entries in use may exceed it. Bytes. */
    download_cache_bytes: intSetting({ default: defaultCacheBytes, min: 1_000_000, max: 1_000_000_000_000 }),
    /** After this long an evacuation stops what is left, as Diego's does. */
    evacuation_timeout_ms: intSetting({ default: 600_000, min: 1_000, max: 86_400_000 }),
  })
  .refine((config) => config.host_port_first <= config.host_port_last, {
    path: ["host_port_last"],
    message: "the last port comes before the first",
  });
export type RepConfig = z.infer<typeof repConfigSchema>;
