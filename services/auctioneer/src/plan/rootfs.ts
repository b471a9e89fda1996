// A rootfs URL, read as far as placement needs it.

export interface RootFS {
  readonly scheme: string;
  /** The text after `scheme:` up to `?` or `#`; empty for URLs that go on with a slash. */
  readonly opaque: string;
}

const url = /^([A-Za-z][A-Za-z0-9+.-]*):([^?#]*)/;

/** `undefined` when it is no URL with a scheme: no cell matches it then. Source: Go's net/url, as the auction uses it. */
export function parseRootFS(rootFs: string): RootFS | undefined {
  const match = url.exec(rootFs);
  if (match === null || hasControlCharacter(rootFs)) return undefined;
  const [, scheme = "", rest = ""] = match;
  return { scheme: scheme.toLowerCase(), opaque: rest.startsWith("/") ? "" : rest };
}

function hasControlCharacter(text: string): boolean {
  for (let i = 0; i < text.length; i += 1) {
    const code = text.charCodeAt(i);
    if (code < 0x20 || code === 0x7f) return true;
  }
  return false;
}
