// Opens the store that the settings name.
import { readFileSync } from "node:fs";
import { systemClock } from "@muster/shared/clock";
import type { Log } from "@muster/shared/log";
import type { StoreDriver } from "@muster/store";
import type { BbsConfig } from "./config.js";

type EtcdSettings = Extract<BbsConfig["store"], { driver: "etcd" }>;

/** @throws OperatorError when the folder is in use, or a file cannot be read. */
export async function openStore(settings: BbsConfig["store"], log: Log): Promise<StoreDriver> {
  if (settings.driver === "lmdb") {
    const { openLmdbStore } = await import("@muster/store/lmdb");
    return openLmdbStore({ path: settings.path, clock: systemClock, log });
  }
  const { openEtcdStore } = await import("@muster/store/etcd");
  return openEtcdStore({
    endpoints: settings.endpoints,
    prefix: settings.prefix,
    clock: systemClock,
    log,
    ...credentialsOf(settings),
  });
}

const credentialsOf = (settings: EtcdSettings) => ({
  ...(settings.ca_file === undefined
    ? {}
    : {
        tls: {
          ca: readFileSync(settings.ca_file),
          ...(settings.cert_file === undefined || settings.key_file === undefined
            ? {}
            : { cert: readFileSync(settings.cert_file), key: readFileSync(settings.key_file) }),
        },
      }),
  ...(settings.username === undefined ? {} : { auth: { username: settings.username, password: settings.password ?? "" } }),
});
