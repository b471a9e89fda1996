// What `watch` prints, made from the messages of the BBS: a line for each record and change, with revisions and tokens. It remembers the
// records, so that people are told a change and not only what it led to.
import type { ResumeToken, WatchResponse, Change as WireChange } from "@muster/proto/muster/v1/watch";
import { decodeRecord, kindOfWire } from "@muster/shared/codec";
import { changeText, type JsonObject, kindNames, recordJson, type WatchedKind } from "./record-json.js";
import { formatToken } from "./token.js";

/**
 * `record`: it is there already. `synced`: that was all there is. `put` and `removed`: it changed. `reset`: the token is of no use any
 * more, and all records follow anew. `progress`: nothing that is asked for changed up to here. Whoever resumes takes the last `token` he
 * saw; of the lines of one commit the last one has it, since nothing of a commit may be skipped.
 */
export interface WatchLine {
  readonly event: "record" | "synced" | "put" | "removed" | "reset" | "progress";
  /** The commit; not on lines of records that were there. */
  readonly revision?: string;
  readonly token?: string;
  readonly kind?: string;
  readonly key?: string;
  readonly record?: JsonObject;
  readonly reason?: string;
}

export interface ToldLine {
  readonly line: WatchLine;
  /** For people; absent: nothing to say. */
  readonly text?: string;
}

interface KnownChange {
  readonly kind: WatchedKind;
  readonly key: string;
  /** `undefined`: removed. */
  readonly record: JsonObject | undefined;
}

export class WatchTeller {
  readonly #records = new Map<string, JsonObject>();
  #token: ResumeToken | undefined;
  #told = 0;

  constructor(after: ResumeToken | undefined) {
    this.#token = after;
  }

  /** Where to resume. */
  get token(): ResumeToken | undefined {
    return this.#token;
  }

  tell({ message }: WatchResponse): readonly ToldLine[] {
    switch (message?.$case) {
      case "reset":
        return [this.#reset(message.value.reason)];
      case "snapshot":
        return message.value.changes.flatMap((change) => this.#there(change));
      case "synced":
        return this.#synced(message.value.token);
      case "commit":
        return this.#commit(message.value.token, message.value.changes);
      case "progress":
        return this.#progress(message.value.token);
      default:
        return [];
    }
  }

  #reset(reason: string): ToldLine {
    this.#token = undefined;
    this.#records.clear();
    this.#told = 0;
    return { line: { event: "reset", reason }, text: `the watch begins anew: ${reason}` };
  }

  #there(change: WireChange): ToldLine[] {
    const known = knownChange(change);
    if (known?.record === undefined) return [];
    const { kind, key, record } = known;
    this.#remember(known);
    this.#told += 1;
    return [{ line: { event: "record", kind: kindNames[kind], key, record } }];
  }

  #synced(token: ResumeToken | undefined): ToldLine[] {
    if (token === undefined) return [];
    this.#token = token;
    const text = `${this.#told} records at revision ${token.sequence}; token ${formatToken(token)}`;
    this.#told = 0;
    return [{ line: { event: "synced", revision: String(token.sequence), token: formatToken(token) }, text }];
  }

  #commit(token: ResumeToken | undefined, changes: readonly WireChange[]): ToldLine[] {
    if (token === undefined) return [];
    this.#token = token;
    const revision = String(token.sequence);
    const known = changes.flatMap((change) => knownChange(change) ?? []);
    return known.map((change, at) => {
      const { kind, key, record } = change;
      const before = this.#remember(change);
      const last = at === known.length - 1 ? { token: formatToken(token) } : {};
      const named = { revision, ...last, kind: kindNames[kind], key };
      const line: WatchLine = record === undefined ? { event: "removed", ...named } : { event: "put", ...named, record };
      return { line, text: `${revision}  ${kindNames[kind]} ${key}  ${changeText(kind, before, record)}` };
    });
  }

  #progress(token: ResumeToken | undefined): ToldLine[] {
    if (token === undefined || token.sequence === this.#token?.sequence) return [];
    this.#token = token;
    return [{ line: { event: "progress", revision: String(token.sequence), token: formatToken(token) } }];
  }

  /** What the record was before. */
  #remember({ kind, key, record }: KnownChange): JsonObject | undefined {
    const place = `${kind} ${key}`;
    const before = this.#records.get(place);
    if (record === undefined) this.#records.delete(place);
    else this.#records.set(place, record);
    return before;
  }
}

/** `undefined` for a kind that this program does not know. */
function knownChange({ kind: wireKind, key, record }: WireChange): KnownChange | undefined {
  const kind = kindOfWire(wireKind);
  if (kind === undefined || !Object.hasOwn(kindNames, kind)) return undefined;
  return { kind: kind as WatchedKind, key, record: record === undefined ? undefined : recordJson(decodeRecord(kind, record)) };
}
