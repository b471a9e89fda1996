// Sealing what must not lie in the store in clear: AES-256-GCM under a labelled key (bbs-semantics.md 1.3).
import { createCipheriv, createDecipheriv, createHash, createSecretKey, type KeyObject } from "node:crypto";
import { BbsError, OperatorError } from "@muster/shared/errors";
import type { SealedBytes } from "@muster/shared/model";
import { randomBytes } from "@muster/shared/tls";

export interface SealingKey {
  /** 1 to 127 bytes; stored beside everything the key has sealed. */
  readonly label: string;
  readonly passphrase: string;
}

export interface SealerOptions {
  /** All keys that may have sealed something, the active one among them. */
  readonly keys: readonly SealingKey[];
  /** The key that seals from now on. */
  readonly activeLabel: string;
}

export interface Sealer {
  seal(plain: Uint8Array): SealedBytes;
  /** @throws OperatorError naming the label of a key that is not among the keys; BbsError Deserialize on altered or cut bytes. */
  open(sealed: SealedBytes): Uint8Array;
  /** Which key sealed this: what another than the active one sealed is to be sealed anew. @throws BbsError Deserialize */
  labelOf(sealed: SealedBytes): string;
  /** Whether there is a key with this label. */
  knows(label: string): boolean;
  readonly activeLabel: string;
}

/** What of a sealer tells about keys; a stand-in that only seals and opens has none of it, and nothing is sealed anew. */
export type KeyRing = Pick<Sealer, "labelOf" | "knows" | "activeLabel" | "open" | "seal">;

const algorithm = "aes-256-gcm";
/** Diego's number for this layout; Diego writes it as text before base64, we keep bytes. */
const version = 2;
/**
 * Random, so that no counter need outlive the process. One key may seal 2^32 things before two nonces meet with a chance worth
 * speaking of: at 10,000 seals a second that is five days, in a cluster's life many years; rotate keys before.
 */
const nonceBytes = 12;
const tagBytes = 16;
const maxLabelBytes = 127;
const noncesPerDraw = 1_024;

/** @throws OperatorError for keys that cannot be used. */
export function createSealer({ keys, activeLabel }: SealerOptions): Sealer {
  checkKeys(keys, activeLabel);
  const keyOf = new Map(keys.map(({ label, passphrase }): [string, KeyObject] => [label, keyFrom(passphrase)]));
  const activeKey = keyOf.get(activeLabel);
  if (activeKey === undefined) throw noSuchKey(activeLabel);
  const label = Buffer.from(activeLabel, "utf8");
  const header = Buffer.concat([Buffer.of(version, label.length), label]);
  const nextNonce = nonces();
  return {
    seal: (plain) => {
      const nonce = nextNonce();
      const cipher = createCipheriv(algorithm, activeKey, nonce, { authTagLength: tagBytes });
      const body = cipher.update(plain);
      // GCM is a stream: `final` yields no bytes, it makes the tag.
      cipher.final();
      return Buffer.concat([header, nonce, body, cipher.getAuthTag()]);
    },
    open: (sealed) => {
      const parts = split(sealed);
      const key = keyOf.get(parts.label);
      if (key === undefined) throw noSuchKey(parts.label);
      return decrypt(key, parts);
    },
    labelOf,
    knows: (known) => keyOf.has(known),
    activeLabel,
  };
}

/** Which key sealed this. @throws BbsError Deserialize for what nobody sealed. */
export const labelOf = (sealed: SealedBytes): string => split(sealed).label;

interface Parts {
  readonly label: string;
  readonly nonce: Uint8Array;
  readonly body: Uint8Array;
  readonly tag: Uint8Array;
}

function split(sealed: SealedBytes): Parts {
  const bytes = Buffer.from(sealed.buffer, sealed.byteOffset, sealed.byteLength);
  const bodyAt = 2 + (bytes[1] ?? 0) + nonceBytes;
  if (bytes[0] !== version || bytes[1] === 0 || bytes.length < bodyAt + tagBytes) throw unreadable();
  return {
    label: bytes.toString("utf8", 2, bodyAt - nonceBytes),
    nonce: bytes.subarray(bodyAt - nonceBytes, bodyAt),
    body: bytes.subarray(bodyAt, bytes.length - tagBytes),
    tag: bytes.subarray(bytes.length - tagBytes),
  };
}

function decrypt(key: KeyObject, { nonce, body, tag }: Parts): Uint8Array {
  const decipher = createDecipheriv(algorithm, key, nonce, { authTagLength: tagBytes });
  decipher.setAuthTag(tag);
  const plain = decipher.update(body);
  try {
    decipher.final();
  } catch (cause) {
    throw unreadable(cause);
  }
  return plain;
}

const keyFrom = (passphrase: string): KeyObject => createSecretKey(createHash("sha256").update(passphrase, "utf8").digest());

/** Nonces one after the other, drawn many at a time: asking the machine for each would take as long as the sealing. */
function nonces(): () => Uint8Array {
  let drawn = new Uint8Array(0);
  let at = 0;
  return () => {
    if (at === drawn.length) {
      drawn = new Uint8Array(randomBytes(nonceBytes * noncesPerDraw));
      at = 0;
    }
    at += nonceBytes;
    return drawn.subarray(at - nonceBytes, at);
  };
}

function checkKeys(keys: readonly SealingKey[], activeLabel: string): void {
  const labels = new Set<string>();
  for (const { label, passphrase } of keys) {
    const bytes = Buffer.byteLength(label);
    if (bytes < 1 || bytes > maxLabelBytes)
      throw badKeys(`the encryption key label ${JSON.stringify(label)} is not 1 to 127 bytes long`);
    if (labels.has(label)) throw badKeys(`there are two encryption keys with the label ${JSON.stringify(label)}`);
    if (passphrase === "") throw badKeys(`the encryption key ${JSON.stringify(label)} has an empty passphrase`);
    labels.add(label);
  }
  if (!labels.has(activeLabel)) throw noSuchKey(activeLabel);
}

const badKeys = (message: string): OperatorError => new OperatorError(message, "mend the encryption keys in the BBS's settings");

const noSuchKey = (label: string): OperatorError =>
  new OperatorError(
    `there is no encryption key with the label ${JSON.stringify(label)}`,
    "add the key with this label to the BBS's settings; keep old keys until everything has been sealed anew",
  );

const unreadable = (cause?: unknown): BbsError =>
  new BbsError("Deserialize", undefined, { why: "sealed bytes were altered or cut short" }, cause);
