// IP addresses as numbers, read as strictly as Go's net package reads them: no leading zeros, no short forms, no zones.

export interface IpAddress {
  readonly family: 4 | 6;
  readonly value: bigint;
}

const byteText = /^(?:0|[1-9]\d{0,2})$/;
const groupText = /^[0-9a-fA-F]{1,4}$/;

/** The address, or `undefined` when the text is none. */
export function parseIp(text: string): IpAddress | undefined {
  const value = text.includes(":") ? parseV6(text) : parseV4(text);
  return value === undefined ? undefined : { family: text.includes(":") ? 6 : 4, value };
}

function parseV4(text: string): bigint | undefined {
  const parts = text.split(".");
  if (parts.length !== 4) return undefined;
  let value = 0n;
  for (const part of parts) {
    if (!byteText.test(part) || Number(part) > 255) return undefined;
    value = value * 256n + BigInt(part);
  }
  return value;
}

function parseV6(text: string): bigint | undefined {
  const halves = text.split("::");
  if (halves.length > 2) return undefined;
  const [head, tail] = halves.map((half, at) => groupsOf(half, at === halves.length - 1));
  if (head === undefined) return undefined;
  if (halves.length === 1) return head.length === 8 ? joined(head) : undefined;
  // `::` stands for at least one group of zeros.
  if (tail === undefined || head.length + tail.length > 7) return undefined;
  return joined([...head, ...Array<number>(8 - head.length - tail.length).fill(0), ...tail]);
}

/** 16-bit groups; a dotted IPv4 address at the very end makes two. */
function groupsOf(text: string, atEnd: boolean): number[] | undefined {
  if (text === "") return [];
  const parts = text.split(":");
  const groups: number[] = [];
  for (const [at, part] of parts.entries()) {
    if (groupText.test(part)) groups.push(Number.parseInt(part, 16));
    else {
      const v4 = atEnd && at === parts.length - 1 ? parseV4(part) : undefined;
      if (v4 === undefined) return undefined;
      groups.push(Number(v4 >> 16n), Number(v4 & 0xffffn));
    }
  }
  return groups;
}

const joined = (groups: readonly number[]): bigint => groups.reduce((value, group) => value * 65_536n + BigInt(group), 0n);

/** A single address, a CIDR block, or `first-last` of one family with first ≤ last. */
export function isDestination(text: string): boolean {
  const slash = text.indexOf("/");
  if (slash >= 0) {
    const ip = parseIp(text.slice(0, slash));
    const bits = text.slice(slash + 1);
    return ip !== undefined && /^\d{1,3}$/.test(bits) && Number(bits) <= (ip.family === 4 ? 32 : 128);
  }
  const dash = text.indexOf("-");
  if (dash < 0) return parseIp(text) !== undefined;
  const first = parseIp(text.slice(0, dash));
  const last = parseIp(text.slice(dash + 1));
  return first !== undefined && last !== undefined && first.family === last.family && first.value <= last.value;
}
