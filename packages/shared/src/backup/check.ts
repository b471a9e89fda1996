// The one judge of a backup, as a stream or as a file: a header, records in order, an end that proves that nothing is missing.
import type { BackupHeader, BackupResponse } from "@muster/proto/muster/v1/backup";
import { OperatorError } from "../errors/index.js";
import { BackupDigest, byKey } from "./format.js";

export interface BackupFacts {
  readonly header: BackupHeader;
  readonly records: number;
  /** By the first part of their keys: `desired`, `actual`, … */
  readonly byPrefix: Readonly<Record<string, number>>;
  readonly sha256: string;
}

/** Takes the messages in order. Every method throws OperatorError for what is no whole backup. */
export class BackupCheck {
  readonly #what: string;
  readonly #digest = new BackupDigest();
  readonly #byPrefix = new Map<string, number>();
  #header: BackupHeader | undefined;
  #last: string | undefined;
  #facts: BackupFacts | undefined;

  /** `what` is how the backup is called in messages. */
  constructor(what: string) {
    this.#what = what;
  }

  take({ message }: BackupResponse): void {
    if (message === undefined || this.#facts !== undefined) throw this.#damaged("it goes on after its end");
    if ((this.#header === undefined) !== (message.$case === "header")) throw this.#damaged("it does not begin with one header");
    switch (message.$case) {
      case "header":
        if (message.value.head === undefined) throw this.#damaged("its header is empty");
        this.#header = message.value;
        return;
      case "records":
        for (const record of message.value.records) this.#record(record);
        return;
      case "end":
        this.#end(message.value);
    }
  }

  /** Once no more messages come. */
  finish(): BackupFacts {
    if (this.#facts === undefined) throw this.#damaged("its end is missing: it was cut short");
    return this.#facts;
  }

  #record(record: { readonly key: string; readonly value: Buffer }): void {
    if (this.#last !== undefined && byKey(this.#last, record.key) >= 0) throw this.#damaged("its records are out of order");
    this.#last = record.key;
    this.#digest.add(record);
    const prefix = record.key.slice(0, record.key.indexOf("/"));
    this.#byPrefix.set(prefix, (this.#byPrefix.get(prefix) ?? 0) + 1);
  }

  #end(end: { readonly records: bigint; readonly sha256: Buffer }): void {
    const records = this.#digest.records;
    const sha256 = this.#digest.digest();
    if (end.records !== records) throw this.#damaged(`it should have ${end.records} records and has ${records}`);
    if (!sha256.equals(end.sha256)) throw this.#damaged("its checksum does not match");
    if (this.#header === undefined) throw this.#damaged("it has no header");
    this.#facts = {
      header: this.#header,
      records: Number(records),
      byPrefix: Object.fromEntries([...this.#byPrefix].sort()),
      sha256: sha256.toString("hex"),
    };
  }

  #damaged(why: string): OperatorError {
    return new OperatorError(`${this.#what} is damaged: ${why}`, "take another backup; nothing was changed");
  }
}
