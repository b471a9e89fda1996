// Tar archives written entry by entry, as no tool would write them: for layers that mean harm, and ones that are merely odd.

export interface TarEntry {
  /** As it stands in the archive, at most 100 bytes. */
  readonly name: string;
  readonly type?: "file" | "hardlink" | "symlink" | "char" | "block" | "folder" | "fifo";
  readonly content?: string;
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  /** Of links. */
  readonly target?: string;
  /** Of devices: major and minor. */
  readonly device?: readonly [number, number];
}

const flags = { file: "0", hardlink: "1", symlink: "2", char: "3", block: "4", folder: "5", fifo: "6" } as const;
const blockBytes = 512;

const octal = (value: number, bytes: number): string => `${value.toString(8).padStart(bytes - 1, "0")}\0`;

function header(entry: TarEntry, size: number): Buffer {
  const block = Buffer.alloc(blockBytes);
  const type = entry.type ?? "file";
  const write = (at: number, text: string): void => void block.write(text, at, "latin1");
  write(0, Buffer.from(entry.name).toString("latin1"));
  write(100, octal(entry.mode ?? (type === "folder" ? 0o755 : 0o644), 8));
  write(108, octal(entry.uid ?? 0, 8));
  write(116, octal(entry.gid ?? 0, 8));
  write(124, octal(size, 12));
  write(136, octal(1_600_000_000, 12));
  write(148, "        ");
  write(156, flags[type]);
  write(157, entry.target ?? "");
  write(257, "ustar\0");
  write(263, "00");
  write(329, octal(entry.device?.[0] ?? 0, 8));
  write(337, octal(entry.device?.[1] ?? 0, 8));
  write(
    148,
    `${block
      .reduce((sum, byte) => sum + byte, 0)
      .toString(8)
      .padStart(6, "0")}\0 `,
  );
  return block;
}

/** The whole archive. */
export function tar(entries: readonly TarEntry[]): Buffer {
  const parts = entries.flatMap((entry) => {
    const content = Buffer.from(entry.content ?? "");
    const padding = Buffer.alloc((blockBytes - (content.length % blockBytes)) % blockBytes);
    return [header(entry, content.length), content, padding];
  });
  return Buffer.concat([...parts, Buffer.alloc(2 * blockBytes)]);
}
