// Calls to a platform's BBS from its home folder, as the command line makes them, for what no verb does.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { readTls, type TlsMaterial } from "@muster/shared/tls";

export interface HomeClient {
  readonly addresses: readonly string[];
  readonly tls: TlsMaterial;
}

/** Reads `client.json`: an operator's certificate. */
export function homeClient(home: string): HomeClient {
  const file = JSON.parse(readFileSync(join(home, "client.json"), "utf8")) as {
    readonly bbs_grpc: readonly string[];
    readonly ca: string;
    readonly cert: string;
    readonly key: string;
  };
  const inHome = (name: string): string => join(home, name);
  return {
    addresses: file.bbs_grpc,
    tls: readTls({ ca_file: inHome(file.ca), cert_file: inHome(file.cert), key_file: inHome(file.key) }),
  };
}
