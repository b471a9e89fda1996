// Certificates of instances, signed by the authority of their cell: what Diego calls instance identity (cell.md section 10).
import { createPrivateKey, type KeyObject, webcrypto, X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import type * as x509 from "@peculiar/x509";
import { OperatorError } from "../errors/index.js";
import { loadX509 } from "./authority.js";
import { type InstanceKeyType, KeyReserve } from "./key-reserve.js";

export interface InstanceAuthorityFiles {
  /** PEM: the authority's certificate, then any that lead from it to the one others trust. */
  readonly cert_file: string;
  readonly key_file: string;
}

export interface InstanceSubject {
  /** Common name and DNS name. */
  readonly guid: string;
  /** As the DesiredLRP or task names them, in its order. */
  readonly organizationalUnits: readonly string[];
  readonly ipAddress: string;
  /** A UUID: the certificate's serial number. */
  readonly serial: string;
}

/** PEM; the certificate is followed by its authority's. */
export interface InstanceCertificate {
  readonly certificate: string;
  readonly key: string;
}

type Signing = webcrypto.RsaHashedImportParams | (webcrypto.EcdsaParams & webcrypto.EcKeyImportParams);

const curves: Readonly<Record<string, readonly [curve: string, hash: string]>> = {
  prime256v1: ["P-256", "SHA-256"],
  secp384r1: ["P-384", "SHA-384"],
};

/** `undefined` for a kind of key that is not supported. */
function signingOf(key: KeyObject): Signing | undefined {
  if (key.asymmetricKeyType === "rsa") return { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" };
  const [namedCurve, hash] = curves[key.asymmetricKeyDetails?.namedCurve ?? ""] ?? [];
  return namedCurve === undefined || hash === undefined ? undefined : { name: "ECDSA", namedCurve, hash };
}

const mend = "see `instance_identity` in the rep's settings; without it instances get no certificates";

export class InstanceAuthority implements Disposable {
  readonly #chainPem: string;
  readonly #certificate: x509.X509Certificate;
  readonly #key: webcrypto.CryptoKey;
  readonly #signing: Signing;
  readonly #reserve: KeyReserve;
  readonly #library: typeof x509;

  private constructor(
    parts: Readonly<{ chainPem: string; certificate: x509.X509Certificate; key: webcrypto.CryptoKey; signing: Signing }>,
    library: typeof x509,
    keyType: InstanceKeyType,
  ) {
    this.#chainPem = parts.chainPem;
    this.#certificate = parts.certificate;
    this.#key = parts.key;
    this.#signing = parts.signing;
    this.#library = library;
    this.#reserve = new KeyReserve(keyType);
    void this.#reserve.fill();
  }

  /** `nowMs` is wall-clock time. @throws OperatorError for files that are missing, do not belong together, or are no authority's. */
  static async open(files: InstanceAuthorityFiles, keyType: InstanceKeyType, nowMs: number): Promise<InstanceAuthority> {
    const [chainPem, keyPem] = [readText(files.cert_file), readText(files.key_file)];
    const { certificate, key } = parsePair(chainPem, keyPem, files);
    if (!certificate.ca || !certificate.checkPrivateKey(key))
      throw new OperatorError(`${files.cert_file} is no authority's certificate, or not that of ${files.key_file}`, mend);
    if (Date.parse(certificate.validTo) <= nowMs) throw new OperatorError(`${files.cert_file} has expired`, mend);
    const signing = signingOf(key);
    if (signing === undefined) throw new OperatorError(`${files.key_file} is neither RSA nor EC (P-256, P-384)`, mend);
    const library = await loadX509();
    const pkcs8 = key.export({ type: "pkcs8", format: "der" });
    const parts = {
      chainPem: `${chainPem.trim()}\n`,
      certificate: new library.X509Certificate(certificate.raw),
      key: (await webcrypto.subtle.importKey("pkcs8", pkcs8, signing, false, ["sign"])) as webcrypto.CryptoKey,
      signing,
    };
    return new InstanceAuthority(parts, library, keyType);
  }

  /** A new key and its certificate, valid from `nowMs` (wall-clock time) for `validityMs`. */
  async issue(subject: InstanceSubject, nowMs: number, validityMs: number): Promise<InstanceCertificate> {
    const x509 = this.#library;
    const { publicKey, privateKey } = await this.#reserve.take();
    const certificate = await x509.X509CertificateGenerator.create({
      serialNumber: subject.serial.replaceAll("-", ""),
      subject: [...subject.organizationalUnits.map((unit) => ({ OU: [unit] })), { CN: [subject.guid] }],
      // The name as its bytes are: some verifiers compare those.
      issuer: this.#certificate.subjectName,
      notBefore: new Date(nowMs),
      notAfter: new Date(nowMs + validityMs),
      signingAlgorithm: this.#signing,
      publicKey: new x509.PublicKey(publicKey.export({ type: "spki", format: "der" })),
      signingKey: this.#key,
      extensions: this.#extensions(subject),
    });
    const type = privateKey.asymmetricKeyType === "rsa" ? "pkcs1" : "sec1";
    return {
      certificate: `${certificate.toString("pem")}\n${this.#chainPem}`,
      key: privateKey.export({ type, format: "pem" }).toString(),
    };
  }

  /** Ends the making of keys ahead. */
  [Symbol.dispose](): void {
    this.#reserve.close();
  }

  #extensions({ guid, ipAddress }: InstanceSubject): x509.Extension[] {
    const x509 = this.#library;
    const { digitalSignature, keyEncipherment, keyAgreement } = x509.KeyUsageFlags;
    const signer = this.#certificate.getExtension(x509.SubjectKeyIdentifierExtension);
    return [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(digitalSignature | keyEncipherment | keyAgreement, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth, x509.ExtendedKeyUsage.clientAuth]),
      new x509.SubjectAlternativeNameExtension([
        { type: "dns", value: guid },
        { type: "ip", value: ipAddress },
      ]),
      ...(signer === null ? [] : [new x509.AuthorityKeyIdentifierExtension(signer.keyId)]),
    ];
  }
}

function readText(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (cause) {
    throw new OperatorError(`cannot read ${file}`, mend, cause);
  }
}

function parsePair(chainPem: string, keyPem: string, { cert_file, key_file }: InstanceAuthorityFiles) {
  try {
    return { certificate: new X509Certificate(chainPem), key: createPrivateKey(keyPem) };
  } catch (cause) {
    throw new OperatorError(`${cert_file} or ${key_file} is no PEM`, mend, cause);
  }
}
