// The development certificate authority of `muster up`: RSA, because Diego's HTTP profile has RSA cipher suites only.
import { webcrypto } from "node:crypto";
import type * as x509 from "@peculiar/x509";
import type { InstanceKeyType } from "./key-reserve.js";

type CryptoKey = webcrypto.CryptoKey;
type CryptoKeyPair = webcrypto.CryptoKeyPair;

type X509 = typeof x509;
let library: Promise<X509> | undefined;

/** Loaded when first needed: only `up` and cells make certificates, and every other process would start a fifth of a second later for it. */
export function loadX509(): Promise<X509> {
  library ??= (async () => {
    await import("reflect-metadata");
    const loaded = await import("@peculiar/x509");
    loaded.cryptoProvider.set(webcrypto as never);
    return loaded;
  })();
  return library;
}

const signing = { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256", publicExponent: new Uint8Array([1, 0, 1]), modulusLength: 2048 };
/** A third of RSA's work for each signature: for what is signed while somebody waits. */
const quickSigning = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
const dayMs = 86_400_000;
/** Clocks of one cluster may differ a little. */
const backdateMs = 600_000;

export interface Authority {
  readonly certificatePem: string;
  readonly keyPem: string;
  readonly certificate: x509.X509Certificate;
  readonly key: CryptoKey;
}

export interface IssuedCertificate {
  readonly certificatePem: string;
  readonly keyPem: string;
}

const pemOfKey = async (key: CryptoKey): Promise<string> =>
  (await loadX509()).PemConverter.encode(await webcrypto.subtle.exportKey("pkcs8", key as never), "PRIVATE KEY");

const serial = (): string => Buffer.from(webcrypto.getRandomValues(new Uint8Array(16))).toString("hex");

/** A new self-signed authority, valid for ten years; `rsa` for roles. `nowMs` is wall-clock time. */
export async function createAuthority(name: string, nowMs: number, keyType: InstanceKeyType = "rsa"): Promise<Authority> {
  const x509 = await loadX509();
  const signingAlgorithm = keyType === "rsa" ? signing : quickSigning;
  const keys = (await webcrypto.subtle.generateKey(signingAlgorithm, true, ["sign", "verify"])) as CryptoKeyPair;
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: serial(),
    name: `CN=${name}`,
    notBefore: new Date(nowMs - backdateMs),
    notAfter: new Date(nowMs + 3650 * dayMs),
    signingAlgorithm,
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return {
    certificate,
    key: keys.privateKey,
    certificatePem: certificate.toString("pem"),
    keyPem: await pemOfKey(keys.privateKey),
  };
}

/** An authority from its two PEM texts. @throws when they do not parse. */
export async function openAuthority(certificatePem: string, keyPem: string): Promise<Authority> {
  const x509 = await loadX509();
  const key = await webcrypto.subtle.importKey("pkcs8", x509.PemConverter.decodeFirst(keyPem), signing, true, ["sign"]);
  return { certificate: new x509.X509Certificate(certificatePem), key: key as CryptoKey, certificatePem, keyPem };
}

export interface CertificateOptions {
  readonly dnsNames?: readonly string[];
  readonly ipAddresses?: readonly string[];
  /** Of its own key; `rsa` when absent. */
  readonly keyType?: InstanceKeyType;
  /** Wall-clock time. */
  readonly nowMs: number;
}

/** A certificate for client and server use, for loopback and the given names, valid for one year. */
export async function issueCertificate(
  authority: Authority,
  commonName: string,
  options: CertificateOptions,
): Promise<IssuedCertificate> {
  const x509 = await loadX509();
  const own = options.keyType === "ec" ? quickSigning : signing;
  const keys = (await webcrypto.subtle.generateKey(own, true, ["sign", "verify"])) as CryptoKeyPair;
  const names: x509.JsonGeneralNames = [
    ...["localhost", ...(options.dnsNames ?? [])].map((value) => ({ type: "dns" as const, value })),
    ...["127.0.0.1", ...(options.ipAddresses ?? [])].map((value) => ({ type: "ip" as const, value })),
  ];
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: serial(),
    subject: [{ CN: [commonName] }],
    issuer: authority.certificate.subject,
    notBefore: new Date(options.nowMs - backdateMs),
    notAfter: new Date(options.nowMs + 365 * dayMs),
    signingAlgorithm: signing,
    publicKey: keys.publicKey,
    signingKey: authority.key,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature | x509.KeyUsageFlags.keyEncipherment, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth, x509.ExtendedKeyUsage.clientAuth]),
      new x509.SubjectAlternativeNameExtension(names),
    ],
  });
  return { certificatePem: certificate.toString("pem"), keyPem: await pemOfKey(keys.privateKey) };
}
