// Where the platform is and who we are to it: `client.json` of a home folder, or flags.
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { readTls, type TlsMaterial } from "@muster/shared/tls";
import { z } from "zod";
import { UnreachableError, UsageError } from "../exit.js";

/** `client.json`; file names are relative to the home. The first five are contract (cli.md), the rest is ours. */
export const clientFileSchema = z.object({
  bbs_grpc: z.array(z.string()).min(1),
  bbs_http: z.array(z.string()).default([]),
  ca: z.string(),
  cert: z.string(),
  key: z.string(),
  /** The runtime of the cells: simulated ones take any image, and no registry is asked. */
  runtime: z.enum(["runc", "simulated"]).default("runc"),
  insecure_registries: z.array(z.string()).default([]),
  registry_ca: z.array(z.string()).default([]),
});
export type ClientFile = z.infer<typeof clientFileSchema>;

export interface ConnectionFlags {
  readonly home?: string;
  readonly bbs?: string;
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
}

export interface ClientSettings {
  /** The home folder, absolute; there even when flags name the platform. */
  readonly home: string;
  readonly bbsAddresses: readonly string[];
  readonly tls: TlsMaterial;
  readonly runtime: "runc" | "simulated";
  readonly insecureRegistries: readonly string[];
  readonly registryCaFiles: readonly string[];
}

/** `--home`, else `MUSTER_HOME`, else `.muster` in the current folder. */
export const homeOf = (flags: Pick<ConnectionFlags, "home">, env: NodeJS.ProcessEnv = process.env): string =>
  path.resolve(flags.home ?? (env.MUSTER_HOME || ".muster"));

/** @throws UnreachableError when there is no platform to be found, UsageError when flags are incomplete. */
export function readClientSettings(flags: ConnectionFlags): ClientSettings {
  const home = homeOf(flags);
  const file = path.join(home, "client.json");
  const known = existsSync(file) ? readClientFile(file) : undefined;
  const inHome = (name: string): string => path.resolve(home, name);
  const ca = flags.ca ?? (known && inHome(known.ca));
  const cert = flags.cert ?? (known && inHome(known.cert));
  const key = flags.key ?? (known && inHome(known.key));
  const addresses = flags.bbs?.split(",").map((address) => address.trim()) ?? known?.bbs_grpc;
  if (addresses === undefined) {
    throw new UnreachableError(
      `there is no platform in ${home}`,
      "start one with `npm start` (or `muster up`), name another with --home, or give --bbs, --ca, --cert and --key",
    );
  }
  if (addresses.some((address) => !/^[^:\s]+:[0-9]{1,5}$/.test(address))) {
    throw new UsageError("--bbs expects HOST:PORT[,HOST:PORT…]");
  }
  if (ca === undefined || cert === undefined || key === undefined) {
    throw new UsageError("--bbs needs --ca, --cert and --key too: the BBS answers only to a certificate of its authority");
  }
  return {
    home,
    bbsAddresses: addresses,
    tls: readTls({ ca_file: ca, cert_file: cert, key_file: key }),
    runtime: known?.runtime ?? "runc",
    insecureRegistries: known?.insecure_registries ?? [],
    registryCaFiles: (known?.registry_ca ?? []).map(inHome),
  };
}

function readClientFile(file: string): ClientFile {
  try {
    return clientFileSchema.parse(JSON.parse(readFileSync(file, "utf8")));
  } catch (cause) {
    throw new UnreachableError(`${file} cannot be read`, "let `muster up` write it anew", cause);
  }
}
