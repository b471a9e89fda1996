// The golden files of the conformance suite: messages in protobuf's text form, each with the bytes that `protoc --encode` made of it.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

export interface Golden {
  /** The message's type. */
  readonly type: string;
  /** Unique in its file, with the type. */
  readonly name: string;
  readonly text: string;
  readonly bytes: Buffer;
}

const folder = fileURLToPath(new URL("../contract/conformance/golden/", import.meta.url));

/** A message begins with `### Type name`; its text follows, a line `=`, and its bytes in hex over any number of lines. */
export function parseGolden(file: string): Golden[] {
  return file
    .split(/^### /m)
    .slice(1)
    .map((section) => {
      const [, type = "", name = "", text = "", hex = ""] = /^(\w+) (.+)\n([\s\S]*?)^=\n([\s\S]*)$/m.exec(section) ?? [];
      if (type === "") throw new Error(`no golden message: ${section.slice(0, 60)}`);
      return { type, name, text, bytes: Buffer.from(hex.replace(/\s/g, ""), "hex") };
    });
}

/** Every message of `golden/<name>.txt`, in its order. */
export const readGolden = (name: string): Golden[] => parseGolden(readFileSync(`${folder}${name}.txt`, "utf8"));
