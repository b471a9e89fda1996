// The BBS's settings: one JSON file, every setting with unit, default and bounds.
import { addressSetting, commonSettings, intSetting } from "@muster/shared/config";
import { z } from "zod";

const lmdbStore = z.strictObject({
  driver: z.literal("lmdb"),
  /** Folder of the embedded store; used by one BBS at a time. */
  path: z.string().min(1),
  /** Bound of what it holds, in MiB. */
  map_size_mb: intSetting({ default: 8_192, min: 1, max: 1_048_576 }),
});

const etcdStore = z.strictObject({
  driver: z.literal("etcd"),
  endpoints: z.array(z.string().min(1)).min(1).max(16),
  prefix: z.string().min(1).max(128).default("/muster/"),
  ca_file: z.string().optional(),
  cert_file: z.string().optional(),
  key_file: z.string().optional(),
  username: z.string().optional(),
  password: z.string().optional(),
  /** Instead of `password`: a file whose first line it is. */
  password_file: z.string().optional(),
  /** What the servers' `--quota-backend-bytes` says, in MiB: they do not tell. etcd's own default is 2 GiB. */
  quota_mb: intSetting({ default: 2_048, min: 4, max: 1_048_576 }),
});

export const bbsConfig = z.strictObject({
  ...commonSettings,
  grpc_address: addressSetting,
  /** Diego's HTTP API; not served when absent. */
  http_address: addressSetting.optional(),
  store: z.discriminatedUnion("driver", [lmdbStore, etcdStore]),
  /** TTL of the leadership. */
  leadership_ttl_ms: intSetting({ default: 10_000, min: 1_000, max: 120_000 }),
  /** TTL that presences usually have: the grace after an election is three of them, at least 15 s. */
  presence_ttl_ms: intSetting({ default: 5_000, min: 500, max: 600_000 }),
  /** So many rejections of a task are forgiven; the next one fails it. */
  max_task_retries: intSetting({ default: 3, min: 0, max: 1_000 }),
  /** So many completion callbacks are under way at once, and so long each attempt may take. */
  task_callback_workers: intSetting({ default: 1_000, min: 1, max: 10_000 }),
  task_callback_timeout_ms: intSetting({ default: 10_000, min: 100, max: 600_000 }),
  /** Passphrases by label; the active one seals what is written from now on. */
  encryption_keys: z.record(z.string().min(1).max(127), z.string().min(16)),
  active_key_label: z.string().min(1).max(127),
});
export type BbsConfig = z.infer<typeof bbsConfig>;
