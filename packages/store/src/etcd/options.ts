// What the etcd driver is told, with unit, default and bounds side by side, and what it tells the library.
import type { Clock } from "@muster/shared/clock";
import { OperatorError } from "@muster/shared/errors";
import type { Log } from "@muster/shared/log";
import type { IOptions } from "etcd3";

export interface EtcdStoreOptions {
  /** `https://host:port` each, or all `http://` in a test; one is used at a time, the others when it fails. */
  readonly endpoints: readonly string[];
  /** All of our keys begin with it; ends in `/`, at most 128 bytes. An etcd of our own is best: we compact its history. */
  readonly prefix: string;
  readonly clock: Clock;
  /** PEM. `ca` alone checks the server; `cert` and `key` show who we are. */
  readonly tls?: { readonly ca: Buffer; readonly cert?: Buffer; readonly key?: Buffer };
  readonly auth?: { readonly username: string; readonly password: string };
  /** The server's `--quota-backend-bytes`, which it does not tell. */
  readonly quotaBytes?: number;
  readonly timing?: Partial<EtcdTiming>;
  readonly log?: Log;
}

/** All in milliseconds. */
export const etcdTiming = {
  /**
   * One try of a commit or a confirm; a try beyond it has an unknown outcome and moves to the next endpoint. Below the second after
   * which the journal tells its callers `outcome unknown`: a frozen member is left before anybody hears of it.
   */
  commitMs: { default: 800, min: 50, max: 60_000 },
  /** One try of any other call. */
  callMs: { default: 5_000, min: 50, max: 60_000 },
  /** How long a read is tried again before it fails. */
  patienceMs: { default: 10_000, min: 50, max: 600_000 },
  /** How often the history is compacted. */
  compactEveryMs: { default: 60_000, min: 50, max: 3_600_000 },
  /** How much history stays: a load must be done within it. */
  keepHistoryMs: { default: 300_000, min: 0, max: 86_400_000 },
} as const;

export type EtcdTiming = { readonly [Key in keyof typeof etcdTiming]: number };

export const defaultQuotaBytes = 2 * 1024 ** 3;

/** The settings in force. @throws OperatorError naming the setting that is out of bounds. */
export function timingOf(given: Partial<EtcdTiming> = {}): EtcdTiming {
  const entries = Object.entries(etcdTiming).map(([name, bounds]) => {
    const value = given[name as keyof EtcdTiming] ?? bounds.default;
    if (value >= bounds.min && value <= bounds.max) return [name, value];
    throw new OperatorError(`the etcd setting ${name} is ${value} ms`, `choose ${bounds.min} to ${bounds.max} ms`);
  });
  return Object.fromEntries(entries) as EtcdTiming;
}

/** @throws OperatorError for endpoints, prefix or credentials that cannot work. */
export function checkOptions(options: EtcdStoreOptions): void {
  const hint = "write each endpoint as https://host:port (http:// in a test), all of them alike";
  const schemes = new Set(options.endpoints.map((endpoint) => /^(https?):\/\/[^/]+:\d+$/.exec(endpoint)?.[1]));
  if (schemes.size !== 1 || schemes.has(undefined)) {
    throw new OperatorError(`these etcd endpoints cannot be used: ${options.endpoints.join(", ") || "none"}`, hint);
  }
  if (schemes.has("http") && options.tls !== undefined)
    throw new OperatorError("etcd has tls settings but http:// endpoints", hint);
  if (!/^.+\/$/s.test(options.prefix) || Buffer.byteLength(options.prefix) > 128) {
    throw new OperatorError(`the etcd prefix ${options.prefix} cannot be used`, "let it end in / and have at most 128 bytes");
  }
}

/** What the library is told: no retries, no breakers and no shared connections of its own, and a deadline for every unary call. */
export function clientOptions(options: EtcdStoreOptions, faultHandling: NonNullable<IOptions["faultHandling"]>): IOptions {
  const { tls, auth } = options;
  return {
    hosts: [...options.endpoints],
    faultHandling,
    ...(auth === undefined ? {} : { auth: { ...auth } }),
    ...(tls === undefined
      ? {}
      : {
          credentials: {
            rootCertificate: tls.ca,
            ...(tls.cert === undefined ? {} : { certChain: tls.cert }),
            ...(tls.key === undefined ? {} : { privateKey: tls.key }),
          },
        }),
    grpcOptions: {
      // A commit is sent once for each call of ours; only the journal sends it again.
      "grpc.enable_retries": 0,
      // After a deadline the library makes a new client: it must get a new connection, not the one that hangs.
      "grpc.use_local_subchannel_pool": 1,
      "grpc.enable_http_proxy": 0,
      // etcd takes one ping in 5 s at most.
      "grpc.keepalive_time_ms": 10_000,
      "grpc.keepalive_timeout_ms": 2_000,
      "grpc.initial_reconnect_backoff_ms": 100,
      "grpc.max_reconnect_backoff_ms": 1_000,
      "grpc.max_send_message_length": 4 * 1024 ** 2,
      "grpc.max_receive_message_length": 4 * 1024 ** 2,
    },
  };
}
