// IPv4 addresses as numbers. Pure.

/** The address as a number below 2^32; `undefined` when it is none in the usual dotted form. */
export function parseIPv4(text: string): number | undefined {
  const parts = text.split(".");
  if (parts.length !== 4 || !parts.every((part) => /^(0|[1-9]\d{0,2})$/.test(part) && Number(part) <= 255)) return undefined;
  return parts.reduce((sum, part) => sum * 256 + Number(part), 0);
}

export const formatIPv4 = (address: number): string =>
  [24, 16, 8, 0].map((shift) => Math.floor(address / 2 ** shift) % 256).join(".");

/** The fewest networks that hold exactly the addresses from `first` to `last`: at most 62. */
export function rangeToCidrs(first: number, last: number): readonly string[] {
  const cidrs: string[] = [];
  for (let from = first; from <= last; ) {
    let length = 32;
    while (length > 0 && from % 2 ** (33 - length) === 0 && from + 2 ** (33 - length) - 1 <= last) length -= 1;
    cidrs.push(`${formatIPv4(from)}/${length}`);
    from += 2 ** (32 - length);
  }
  return cidrs;
}
