// The three files of /etc that belong to the machine a container believes it is. Pure.

import { parseIPv4 } from "../network/addresses.js";

/** Links to the host's own stub resolver (127.0.0.53 and the like) lead nowhere from inside a container. */
const isLoopback = (address: string): boolean => address.startsWith("127.") || address === "::1";

/** The host's resolv.conf for use in a container. `upstream` is systemd-resolved's list of real servers, for when all others are loopback. */
export function resolvConf(host: string, upstream: string | undefined): string {
  const keep = (text: string): string[] =>
    text.split("\n").filter((line) => {
      const [word, value = ""] = line.trim().split(/\s+/);
      return word === "nameserver" ? !isLoopback(value) : word === "search" || word === "options" || word === "domain";
    });
  const own = keep(host);
  const hasServer = (lines: readonly string[]): boolean => lines.some((line) => line.trim().startsWith("nameserver"));
  const lines = hasServer(own) || upstream === undefined ? own : keep(upstream);
  return lines.length === 0 ? "" : `${lines.join("\n")}\n`;
}

/** The IPv4 name servers of a resolv.conf: containers have no other addresses. */
export const nameserversOf = (resolv: string): readonly string[] =>
  resolv
    .split("\n")
    .map((line) => line.trim().split(/\s+/))
    .flatMap(([word, value = ""]) => (word === "nameserver" && parseIPv4(value) !== undefined ? [value] : []));

export const hostsFile = (hostname: string, containerIp: string): string =>
  `127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n${containerIp}\t${hostname}\n`;
