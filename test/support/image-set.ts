// The images that go through the table: a plain one, ones with users, volumes and ranges of ports, a hostile one, and any Debian.
import { stat } from "node:fs/promises";
import { expect } from "vitest";
import type { TableImage } from "./image-table.js";
import { type TarEntry, tar } from "./tar.js";

const hello = "hello from muster\n";
const httpd = (port: number): string => `httpd -f -p ${port} -h /www`;
const busybox = { files: { "/www/index.html": hello }, serve: httpd, page: hello };

export const plainImage: TableImage = {
  ...busybox,
  what: "busybox",
  image: async () => ({ env: ["PATH=/bin", "SAYS=plain"], workingDir: "/tmp" }),
  says: "0:0 0 /tmp plain",
  folders: ["/", "/tmp", "/etc", "/root"],
  users: {
    root: "0:0 0",
    web: "1000:1000 1000 2000",
    1000: "1000:1000 1000 2000",
    1234: "1234:0 0",
    "1234:2000": "1234:2000 2000",
    "web:extra": "1000:2000 2000",
  },
  exposes: [8080],
};

const people = [
  "root:x:0:0:root:/root:/bin/sh",
  "app:x:500:600:an app:/home/app:/bin/sh",
  "many:x:501:601::/home/many:/bin/false",
];
const groups = ["root:x:0:", "staff:x:600:", "one:x:701:app,many", "two:x:702:other,app", "three:x:703:", "far:x:65535:many"];

export const usersImage: TableImage = {
  ...busybox,
  what: "users of its own",
  image: async () => ({
    layers: [
      tar([
        { name: "etc/passwd", content: `${people.join("\n")}\n` },
        { name: "etc/group", content: `${groups.join("\n")}\n` },
        { name: "home/app/", type: "folder", uid: 500, gid: 600, mode: 0o750 },
        { name: "home/app/mine", uid: 500, gid: 600, mode: 0o400, content: "app's own\n" },
        { name: "home/team/", type: "folder", uid: 0, gid: 702, mode: 0o2770 },
      ]),
    ],
    env: ["PATH=/bin", "SAYS=users"],
    user: "app",
    workingDir: "/home/app",
  }),
  says: "500:600 600 701 702 /home/app users",
  files: { ...busybox.files, "/home/app/mine": "app's own\n" },
  // The second by a group it is a member of.
  folders: ["/home/app", "/home/team"],
  users: {
    app: "500:600 600 701 702",
    500: "500:600 600 701 702",
    many: "501:601 601 701 65535",
    "app:two": "500:702 702",
    "500:777": "500:777 777",
    "app:703": "500:703 703",
    4242: "4242:0 0",
    "0:600": "0:600 600",
    root: "0:0 0",
  },
  exposes: [8080],
};

const range = Array.from({ length: 11 }, (_none, at) => 9_000 + at);

export const volumesImage: TableImage = {
  ...busybox,
  what: "volumes and a range of ports",
  image: async () => ({
    layers: [
      tar([
        { name: "data/", type: "folder", uid: 1000, gid: 1000, mode: 0o700 },
        { name: "data/brought", content: "brought\n" },
      ]),
    ],
    env: ["PATH=/bin", "SAYS=volumes"],
    user: "1000:1000",
    // The second is nowhere in its layers: as in Diego, VOLUME has no effect of its own.
    volumes: ["/data", "/nowhere"],
    exposedPorts: [...range.map((port) => `${port}/tcp`), "9005/udp"],
    workingDir: "/data",
  }),
  says: "1000:1000 1000 /data volumes",
  files: { ...busybox.files, "/data/brought": "brought\n" },
  folders: ["/data", "/tmp"],
  users: { web: "1000:1000 1000 2000", root: "0:0 0", 77: "77:0 0" },
  exposes: range,
};

/** What a hostile layer would leave on this machine. */
export const hostileMarker = (): string => `/tmp/muster-table-${process.pid}`;
const hostileEntries = (): readonly TarEntry[] => [
  { name: `../../../../../../../..${hostileMarker()}`, content: "up\n" },
  { name: "absolute", type: "symlink", target: "/www/index.html" },
  { name: "up", type: "symlink", target: "../../../../../../../../www/index.html" },
  { name: "home/out", type: "symlink", target: "../../../../../../../../tmp" },
  { name: "loop", type: "symlink", target: "/loop" },
  { name: "zero", type: "char", device: [1, 5], mode: 0o666 },
  { name: "disk", type: "block", device: [254, 0], mode: 0o666 },
  { name: "pipe", type: "fifo" },
];

export const hostileImage: TableImage = {
  ...busybox,
  what: "hostile layers",
  image: async () => ({ layers: [tar(hostileEntries())], env: ["PATH=/bin", "SAYS=hostile"], workingDir: "/home/out" }),
  says: "0:0 0 /tmp hostile",
  files: { "/absolute": hello, "/up": hello },
  folders: ["/home/out", "/"],
  users: { root: "0:0 0", web: "1000:1000 1000 2000", 65535: "65535:0 0" },
  exposes: [8080],
};

/** Nothing of a hostile layer is on this machine. */
export async function expectNoMarker(): Promise<void> {
  expect(await stat(hostileMarker()).catch(() => undefined)).toBeUndefined();
}

const perlServer = (port: number): string =>
  `exec perl -MIO::Socket::INET -e 'my $s = IO::Socket::INET->new(LocalPort => ${port}, Listen => 5, ReuseAddr => 1) or die; ` +
  `while (my $c = $s->accept) { sysread $c, my $b, 4096; print $c "HTTP/1.0 200 OK\\r\\n\\r\\nperl\\n"; close $c }'`;

/** A Debian, however it was made: `root` makes the archive of its root. */
export const debianTable = (what: string, root: (folder: string) => Promise<string>): TableImage => ({
  what,
  image: async (folder) => ({
    bare: true,
    layers: [
      { file: await root(folder) },
      tar([
        { name: "var/tmp/", type: "folder", mode: 0o1777 },
        { name: "etc/says", content: "a Debian\n" },
      ]),
    ],
    env: ["SAYS=debian"],
    user: "www-data",
    workingDir: "/var/tmp",
    exposedPorts: ["80/tcp"],
  }),
  says: "33:33 33 /var/tmp debian",
  files: { "/etc/says": "a Debian\n" },
  folders: ["/var/tmp", "/tmp"],
  users: {
    root: "0:0 0",
    daemon: "1:1 1",
    games: "5:60 60",
    "www-data": "33:33 33",
    nobody: "65534:65534 65534",
    "games:staff": "5:50 50",
    4242: "4242:0 0",
  },
  exposes: [80],
  serve: perlServer,
  page: "perl\n",
});
