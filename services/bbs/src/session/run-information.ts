// What a claim is answered with so that its cell need not ask: the whole DesiredLRP, opened and encoded once for the instances of one
// process that are claimed in the same moment. A call for each would cost BBS and cell more than the claim itself.
import { DesiredLRP as WireDesiredLRP } from "@muster/proto/models/desired_lrp";
import { desiredLRPToWire, toBuffer } from "@muster/shared/codec";
import type { DesiredLRP, SealedBytes } from "@muster/shared/model";
import type { DecisionContext } from "../core/decision.js";

export interface ToRun {
  readonly record: DesiredLRP;
  readonly sealed: SealedBytes;
}

/** All run information of one message of replies; a message takes 4 MiB. */
export const maxRunInformationBytes = 1024 * 1024;
/** Kept opened: few and small, for as long as the claims of one auction take to come in. */
const maxKept = 256;
const maxKeptBytes = 16 * 1024;

const nothing = Buffer.alloc(0);

export class RunInformation {
  readonly #open: DecisionContext["open"];
  /** Oldest first. Records and sealed bytes are replaced, never changed. */
  readonly #kept = new Map<DesiredLRP, { readonly sealed: SealedBytes; readonly bytes: Buffer }>();

  constructor(open: DecisionContext["open"]) {
    this.#open = open;
  }

  /** The encoded message; empty for one that no key opens, of which the cell is told when it asks. */
  encoded({ record, sealed }: ToRun): Buffer {
    const known = this.#kept.get(record);
    if (known?.sealed === sealed) return known.bytes;
    const bytes = this.#encode(record, sealed);
    if (bytes.byteLength > 0 && bytes.byteLength <= maxKeptBytes) this.#keep(record, sealed, bytes);
    return bytes;
  }

  #encode(record: DesiredLRP, sealed: SealedBytes): Buffer {
    try {
      return toBuffer(WireDesiredLRP.encode(desiredLRPToWire(record, this.#open(sealed))).finish());
    } catch {
      return nothing;
    }
  }

  #keep(record: DesiredLRP, sealed: SealedBytes, bytes: Buffer): void {
    this.#kept.set(record, { sealed, bytes });
    const [oldest] = this.#kept.keys();
    if (this.#kept.size > maxKept && oldest !== undefined) this.#kept.delete(oldest);
  }
}
