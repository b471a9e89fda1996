// Cuts a stream of bytes into log lines as Diego does: at \n or \r, at most 61,440 bytes each, never within a UTF-8 character.

/** Diego's bound for one log message. Source: cell.md section 11. */
export const maxLineBytes = 61_440;
const newline = 0x0a;
const carriageReturn = 0x0d;

/** Where to cut at most `limit` bytes so that no UTF-8 character is split; bytes that are no UTF-8 are cut anywhere. */
export function utf8Cut(bytes: Uint8Array, limit: number): number {
  if (bytes.length <= limit) return bytes.length;
  let cut = limit;
  // A character has at most three continuation bytes (10xxxxxx) behind its first.
  for (let back = 0; back < 4 && cut > 0; back += 1) {
    if (((bytes[cut] ?? 0) & 0xc0) !== 0x80) return cut;
    cut -= 1;
  }
  return limit;
}

/** Joins chunks into lines. Holds at most one unfinished line. */
export class LineSplitter {
  readonly #emit: (line: Uint8Array) => void;
  readonly #limit: number;
  #tail: Uint8Array = new Uint8Array(0);

  constructor(emit: (line: Uint8Array) => void, limit = maxLineBytes) {
    this.#emit = emit;
    this.#limit = limit;
  }

  /** Emits every line that `chunk` finishes. */
  write(chunk: Uint8Array): void {
    let start = 0;
    for (let at = 0; at < chunk.length; at += 1) {
      const byte = chunk[at];
      if (byte !== newline && byte !== carriageReturn) continue;
      this.#append(chunk.subarray(start, at));
      this.flush();
      start = at + 1;
    }
    this.#append(chunk.subarray(start));
  }

  /** Emits what is left without a line end: the process is gone, no more will come. */
  flush(): void {
    const line = this.#tail;
    this.#tail = new Uint8Array(0);
    if (line.length > 0) this.#emit(line);
  }

  #append(part: Uint8Array): void {
    if (part.length === 0) return;
    let rest = new Uint8Array(this.#tail.length + part.length);
    rest.set(this.#tail);
    rest.set(part, this.#tail.length);
    while (rest.length > this.#limit) {
      const cut = utf8Cut(rest, this.#limit);
      this.#emit(rest.slice(0, cut));
      rest = rest.slice(cut);
    }
    this.#tail = rest;
  }
}
