// Opens the store that the settings name.
import { readFileSync } from "node:fs";
import { systemClock } from "@muster/shared/clock";
import { OperatorError } from "@muster/shared/errors";
import type { Log } from "@muster/shared/log";
import type { StoreDriver } from "@muster/store";
import type { EtcdStoreOptions } from "@muster/store/etcd";
import type { BbsConfig } from "./config.js";

const mebibyte = 1024 ** 2;

type EtcdSettings = Extract<BbsConfig["store"], { driver: "etcd" }>;

/** @throws OperatorError when the folder is in use, or a file cannot be read. */
export async function openStore(settings: BbsConfig["store"], log: Log): Promise<StoreDriver> {
  if (settings.driver === "lmdb") {
    const { openLmdbStore } = await import("@muster/store/lmdb");
    return openLmdbStore({ path: settings.path, clock: systemClock, log, mapSizeBytes: settings.map_size_mb * mebibyte });
  }
  const { openEtcdStore } = await import("@muster/store/etcd");
  return openEtcdStore({
    endpoints: settings.endpoints,
    prefix: settings.prefix,
    quotaBytes: settings.quota_mb * mebibyte,
    clock: systemClock,
    log,
    ...credentialsOf(settings),
  });
}

/** What shows etcd who we are, read from its files. @throws OperatorError naming the setting whose file cannot be read. */
function credentialsOf(settings: EtcdSettings): Pick<EtcdStoreOptions, "tls" | "auth"> {
  const { ca_file, cert_file, key_file, username } = settings;
  if (ca_file === undefined && (cert_file ?? key_file) !== undefined)
    throw new OperatorError(
      "etcd's cert_file and key_file need its ca_file",
      "name the authority of etcd's certificates in ca_file",
    );
  const tls =
    ca_file === undefined
      ? {}
      : {
          tls: {
            ca: fileOf("ca_file", ca_file),
            ...(cert_file === undefined || key_file === undefined
              ? {}
              : { cert: fileOf("cert_file", cert_file), key: fileOf("key_file", key_file) }),
          },
        };
  return username === undefined ? tls : { ...tls, auth: { username, password: passwordOf(settings) } };
}

function passwordOf({ password, password_file }: EtcdSettings): string {
  if (password_file === undefined) return password ?? "";
  return fileOf("password_file", password_file).toString().split(/\r?\n/, 1)[0] ?? "";
}

function fileOf(setting: string, path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (cause) {
    throw new OperatorError(
      `${path} cannot be read`,
      `the store's ${setting} names it: mend the path or the file's owner`,
      cause,
    );
  }
}
