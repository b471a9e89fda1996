// Mutual TLS: reading a service's files, and making the development authority with its role certificates.
import { webcrypto } from "node:crypto";
import { readFileSync } from "node:fs";
import type { TlsFiles } from "../config/index.js";
import { OperatorError } from "../errors/index.js";

export { type Authority, createAuthority, type IssuedCertificate, issueCertificate, openAuthority } from "./authority.js";
export { InstanceAuthority, type InstanceAuthorityFiles, type InstanceCertificate, type InstanceSubject } from "./instance.js";
export type { InstanceKeyType } from "./key-reserve.js";

export interface TlsMaterial {
  readonly ca: Buffer;
  readonly cert: Buffer;
  readonly key: Buffer;
}

/** @throws OperatorError naming the file that cannot be read. */
export function readTls(files: TlsFiles): TlsMaterial {
  const read = (file: string): Buffer => {
    try {
      return readFileSync(file);
    } catch (cause) {
      throw new OperatorError(`cannot read ${file}`, "point the tls settings at readable PEM files", cause);
    }
  };
  return { ca: read(files.ca_file), cert: read(files.cert_file), key: read(files.key_file) };
}

/** Who a certificate speaks for, as named by its common name. */
export type Role = "controller" | "operator" | "auctioneer" | "converger" | "bbs";
export type Peer = { readonly role: Role } | { readonly role: "cell"; readonly cellId: string };

const roles: ReadonlySet<string> = new Set<Role>(["controller", "operator", "auctioneer", "converger", "bbs"]);

/** Reads the role from a common name; `cell:<id>` is a cell. Any other name may do nothing: `undefined`. */
export function peerOfCommonName(commonName: string | undefined): Peer | undefined {
  if (commonName === undefined) return undefined;
  if (commonName.startsWith("cell:") && commonName.length > 5) return { role: "cell", cellId: commonName.slice(5) };
  return roles.has(commonName) ? { role: commonName as Role } : undefined;
}

/** Random bytes for keys and nonces; here so that only tls and the system drivers touch the machine's chance. */
export const randomBytes = (length: number): Uint8Array => webcrypto.getRandomValues(new Uint8Array(length));
