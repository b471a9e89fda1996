// The download cache and transfers, against a server of this test: what is fetched once, what is kept, what goes, what is refused.
import { execFileSync, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { crc32 } from "node:zlib";
import type { Container } from "@muster/garden";
import { systemClock } from "@muster/shared/clock";
import { silentLog } from "@muster/shared/log";
import { pack } from "tar-stream";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { asTar } from "./archive.js";
import { DownloadCache } from "./cache.js";
import { download } from "./download.js";
import { CellTransfers } from "./transfers.js";
import { feed, unpackArchive } from "./unpack.js";

const scratch = mkdtempSync(join(tmpdir(), "muster-assets-"));
const never = new AbortController().signal;
const noChecksum = { algorithm: "", value: "" };
const instant = { ...systemClock, sleep: async (_ms: number, signal?: AbortSignal) => signal?.throwIfAborted() };

let server: Server;
let base = "";
let answer: (request: IncomingMessage, response: ServerResponse) => void = () => undefined;
let asked: string[] = [];

beforeAll(async () => {
  server = createServer((request, response) => {
    asked.push(`${request.method} ${request.url}`);
    answer(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  rmSync(scratch, { recursive: true, force: true });
});
beforeEach(() => {
  asked = [];
  folders += 1;
});

let folders = 0;
const folderOf = (name: string): string => join(scratch, `${folders}-${name}`);

/** Files that answer with an ETag, and 304 to whoever has it. */
const serve = (files: Record<string, Buffer>): void => {
  answer = (request, response) => {
    const body = files[request.url ?? ""];
    if (body === undefined) return void response.writeHead(404).end();
    const etag = `"${createHash("md5").update(body).digest("hex")}"`;
    if (request.headers["if-none-match"] === etag) return void response.writeHead(304).end();
    response.writeHead(200, { etag }).end(body);
  };
};

const openCache = (name: string, maxBytes = 10_000_000) =>
  new DownloadCache({
    folder: folderOf(name),
    maxBytes,
    clock: instant,
    log: silentLog(),
    unpack: (archive, folder, signal) => unpackArchive(archive, folder, maxBytes, signal),
  });

/** A zip of stored entries, as a Unix machine makes it. */
function zipOf(entries: readonly { readonly name: string; readonly mode: number; readonly content: Buffer }[]): Buffer {
  const files: Buffer[] = [];
  const central: Buffer[] = [];
  let offset = 0;
  for (const { name, mode, content } of entries) {
    const common = Buffer.alloc(26);
    common.writeUInt16LE(20, 0);
    common.writeUInt16LE((1 << 5) | 1, 8);
    common.writeUInt32LE(crc32(content), 10);
    common.writeUInt32LE(content.length, 14);
    common.writeUInt32LE(content.length, 18);
    common.writeUInt16LE(name.length, 22);
    const file = Buffer.concat([Buffer.from("PK\x03\x04"), common, Buffer.from(name), content]);
    // Made by Unix; then comment, disk and internal attributes (none), mode, and where the file is.
    const rest = Buffer.alloc(14);
    rest.writeUInt32LE((mode << 16) >>> 0, 6);
    rest.writeUInt32LE(offset, 10);
    central.push(Buffer.from("PK\x01\x02"), Buffer.from([20, 3]), common, rest, Buffer.from(name));
    files.push(file);
    offset += file.length;
  }
  const directory = Buffer.concat(central);
  const end = Buffer.alloc(18);
  end.writeUInt16LE(entries.length, 4);
  end.writeUInt16LE(entries.length, 6);
  end.writeUInt32LE(directory.length, 8);
  end.writeUInt32LE(offset, 12);
  return Buffer.concat([...files, directory, Buffer.from("PK\x05\x06"), end]);
}

let made = 0;
function archive(kind: "tar" | "tgz" | "zip", fill: (folder: string) => void): Buffer {
  made += 1;
  const folder = join(scratch, `in-${made}`);
  mkdirSync(folder);
  fill(folder);
  if (kind === "zip") {
    const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((each) => each.isFile());
    return zipOf(
      files.map((each) => {
        const path = join(each.parentPath, each.name);
        return { name: relative(folder, path), mode: statSync(path).mode, content: readFileSync(path) };
      }),
    );
  }
  return execFileSync("tar", [kind === "tgz" ? "-czf" : "-cf", "-", "-C", folder, "."]);
}
const hello = (folder: string): void => {
  mkdirSync(join(folder, "bin"));
  writeFileSync(join(folder, "bin", "hello"), "hello\n", { mode: 0o700 });
};

async function collect(stream: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** A container that keeps what is streamed in, and gives what it is told to. */
const container = (out?: Buffer) => {
  const taken: { path: string; user: string; names: string }[] = [];
  const streamIn: Container["streamIn"] = async ({ path, user }, tar) => {
    const bytes = await collect(tar);
    taken.push({ path, user, names: execFileSync("tar", ["-tf", "-"], { input: bytes }).toString() });
  };
  const streamOut: Container["streamOut"] = async function* () {
    if (out === undefined) throw new Error("no such file");
    yield out;
  };
  return { taken, container: { streamIn, streamOut } as unknown as Container };
};

const action = (over: Partial<Parameters<CellTransfers["download"]>[1]> = {}) => ({
  artifact: "app",
  from: `${base}/a`,
  to: "/home/app",
  cacheKey: "",
  logSource: "",
  user: "vcap",
  checksumAlgorithm: "",
  checksumValue: "",
  ...over,
});

describe("a download", () => {
  it.each(["tar", "tgz", "zip"] as const)("of a %s is unpacked as its user", async (kind) => {
    const bytes = archive(kind, hello);
    serve({ "/a": bytes });
    const { taken, container: target } = container();
    const transfers = new CellTransfers(instant, openCache("cache"));
    expect(await transfers.download(target, action(), never)).toBe(bytes.length);
    expect(taken).toMatchObject([{ path: "/home/app", user: "vcap" }]);
    expect(taken[0]?.names).toMatch(/bin\/hello/);
    expect(readdirSync(join(folderOf("cache"), "tmp"))).toEqual([]);
  });

  it("is tried five times, and says only that it failed", async () => {
    answer = (_request, response) => void response.writeHead(503).end("secret");
    const transfers = new CellTransfers(instant, openCache("cache"));
    await expect(transfers.download(container().container, action(), never)).rejects.toThrow(/^Downloading app failed$/);
    await expect(transfers.download(container().container, action({ artifact: "" }), never)).rejects.toThrow(
      /^Downloading failed$/,
    );
    expect(asked).toHaveLength(10);
  });

  it.each([
    { algorithm: "md5", good: true },
    { algorithm: "sha1", good: true },
    { algorithm: "sha256", good: true },
    { algorithm: "SHA256", good: true },
    { algorithm: "sha256", good: false },
  ])("with a $algorithm that is right: $good, is asked for once", async ({ algorithm, good }) => {
    serve({ "/a": Buffer.from("content") });
    const value = createHash(algorithm.toLowerCase())
      .update(good ? "content" : "another")
      .digest("hex");
    const request = {
      from: `${base}/a`,
      file: folderOf("file"),
      checksum: { algorithm, value },
      validators: undefined,
      maxBytes: 100,
    };
    if (good) expect(await download(instant, request, never)).toMatchObject({ bytes: 7 });
    else await expect(download(instant, request, never)).rejects.toThrow(/is not the one asked for/);
    expect(asked).toHaveLength(1);
    expect(existsSync(request.file)).toBe(good);
  });

  it("from anywhere but http and https is refused", async () => {
    for (const from of ["file:///etc/passwd", "ftp://a/b", "nonsense"]) {
      const request = { from, file: folderOf("file"), checksum: noChecksum, validators: undefined, maxBytes: 100 };
      await expect(download(instant, request, never)).rejects.toThrow();
    }
  });

  it("gives the login that its address holds", async () => {
    let login: string | undefined;
    answer = (incoming, response) => {
      login = incoming.headers.authorization;
      response.end("x");
    };
    const from = `${base.replace("http://", "http://blob:p%40ss@")}/a`;
    await download(instant, { from, file: folderOf("file"), checksum: noChecksum, validators: undefined, maxBytes: 9 }, never);
    expect(login).toBe(`Basic ${Buffer.from("blob:p@ss").toString("base64")}`);
  });

  it("ends when it is cancelled, whoever else waits", async () => {
    answer = () => undefined;
    const transfers = new CellTransfers(instant, openCache("cache"));
    const stop = new AbortController();
    const first = transfers.download(container().container, action({ cacheKey: "k" }), stop.signal);
    const second = transfers.download(container().container, action({ cacheKey: "k" }), stop.signal);
    stop.abort(new Error("cancelled"));
    await expect(first).rejects.toThrow("cancelled");
    await expect(second).rejects.toThrow("cancelled");
  });
});

describe("the cache", () => {
  const wanted = (path: string, cacheKey = path) => ({ from: base + path, cacheKey, checksum: noChecksum });

  it("fetches a key once for all who ask at the same time, and asks again only whether it changed", async () => {
    serve({ "/a": Buffer.from("one") });
    const cache = openCache("cache");
    const held = await Promise.all([1, 2, 3].map(() => cache.file(wanted("/a"), never)));
    expect(held.map((one) => one.cached)).toEqual([false, true, true]);
    expect(readFileSync(held[0]?.file ?? "", "utf8")).toBe("one");
    serve({ "/a": Buffer.from("two") });
    for (const one of held) await one[Symbol.asyncDispose]();
    await using changed = await cache.file(wanted("/a"), never);
    expect([changed.cached, readFileSync(changed.file, "utf8")]).toEqual([false, "two"]);
  });

  it("keeps nothing that cannot be asked about", async () => {
    answer = (_request, response) => void response.end("x");
    const cache = openCache("cache");
    await using held = await cache.file(wanted("/a"), never);
    expect(held.cached).toBe(false);
    expect(cache.bytes).toBe(0);
    await expect(cache.dependency(wanted("/a"), "c", never)).rejects.toThrow(/cannot be cached/);
  });

  it("drops what was unused for longest, never what is in use", async () => {
    const file = (byte: number) => Buffer.alloc(400, byte);
    serve({ "/a": file(1), "/b": file(2), "/c": file(3), "/d": file(4) });
    const cache = openCache("cache", 1_000);
    const held = await cache.file(wanted("/a"), never);
    for (const path of ["/b", "/c"]) await (await cache.file(wanted(path), never))[Symbol.asyncDispose]();
    expect(cache.bytes).toBe(800);
    expect(existsSync(held.file)).toBe(true);
    asked = [];
    expect((await cache.file(wanted("/c"), never)).cached).toBe(true);
    expect((await cache.file(wanted("/b"), never)).cached).toBe(false);
  });

  it("is found again by the next rep, and begins anew when its index is broken", async () => {
    serve({ "/a": Buffer.from("one") });
    await (await openCache("cache").file(wanted("/a"), never))[Symbol.asyncDispose]();
    expect((await openCache("cache").file(wanted("/a"), never)).cached).toBe(true);
    writeFileSync(join(folderOf("cache"), "index.json"), "{");
    const anew = openCache("cache");
    expect(anew.bytes).toBe(0);
    expect((await anew.file(wanted("/a"), never)).cached).toBe(false);
  });

  it("unpacks a dependency once, readable by all, and keeps it for its containers", async () => {
    const bytes = archive("tgz", hello);
    serve({ "/dep": bytes, "/other": Buffer.alloc(19_900, 7) });
    const cache = openCache("cache", 20_000);
    const [one, two] = await Promise.all(["c1", "c2"].map((holder) => cache.dependency(wanted("/dep"), holder, never)));
    expect(one?.folder).toBe(two?.folder);
    expect([one?.cached, two?.cached]).toEqual([false, true]);
    const file = join(one?.folder ?? "", "bin", "hello");
    expect(readFileSync(file, "utf8")).toBe("hello\n");
    expect(statSync(file).mode & 0o777).toBe(0o755);
    cache.release("c1");
    await (await cache.file(wanted("/other"), never))[Symbol.asyncDispose]();
    expect(existsSync(file)).toBe(true);
    cache.release("c2");
    await (await cache.file(wanted("/other", "another key"), never))[Symbol.asyncDispose]();
    expect(existsSync(file)).toBe(false);
  });

  it("a tool that ends before it has taken everything is no fault; a source that breaks is", async () => {
    const content = async function* (bytes: number, end: Promise<unknown>, fault?: Error): AsyncGenerator<Uint8Array> {
      if (bytes > 0) yield Buffer.alloc(bytes);
      await end;
      if (fault !== undefined) throw fault;
      yield Buffer.alloc(100);
    };
    for (const bytes of [0, 100]) {
      const child = spawn("true", { stdio: ["pipe", "ignore", "ignore"] });
      await feed(content(bytes, once(child, "close")), child.stdin);
    }
    const reader = spawn("cat", { stdio: ["pipe", "ignore", "ignore"] });
    const over = once(reader, "close");
    const broken = content(100, Promise.resolve(), new Error("broken archive"));
    await expect(feed(broken, reader.stdin)).rejects.toThrow("broken archive");
    await over;
  });

  it("lets no archive write outside its folder", async () => {
    const victim = join(scratch, "victim");
    writeFileSync(victim, "safe");
    const through = pack();
    through.entry({ name: "away", type: "symlink", linkname: scratch });
    through.entry({ name: "away/victim" }, "broken");
    through.finalize();
    const dots = pack();
    dots.entry({ name: "../victim" }, "broken");
    dots.finalize();
    for (const bytes of [await collect(through), await collect(dots)]) {
      writeFileSync(folderOf("evil.tar"), bytes);
      const target = folderOf("target");
      mkdirSync(target, { recursive: true });
      await unpackArchive(folderOf("evil.tar"), target, 1_000_000, never).catch(() => undefined);
      expect(readFileSync(victim, "utf8")).toBe("safe");
    }
  });

  it("refuses an archive that unpacks to more than it holds", async () => {
    writeFileSync(
      folderOf("bomb"),
      archive("tgz", (folder) => writeFileSync(join(folder, "zeros"), Buffer.alloc(2_000_000))),
    );
    mkdirSync(folderOf("target"));
    await expect(unpackArchive(folderOf("bomb"), folderOf("target"), 1_000_000, never)).rejects.toThrow(/more than/);
  });
});

describe("an archive", () => {
  it("that is broken is told", async () => {
    const tgz = archive("tgz", hello);
    writeFileSync(folderOf("broken"), tgz.subarray(0, tgz.length - 20));
    await expect(collect(asTar(folderOf("broken")))).rejects.toThrow();
    writeFileSync(folderOf("zip"), Buffer.from("PK\x03\x04nonsense"));
    await expect(collect(asTar(folderOf("zip")))).rejects.toThrow();
  });
});

describe("a zip's link", () => {
  const link = 0o120_777;
  const zipped = (content: Buffer): string => {
    const file = folderOf("links.zip");
    writeFileSync(file, zipOf([{ name: "l", mode: link, content }]));
    return file;
  };

  it("is a link to what it holds", async () => {
    const tar = await collect(asTar(zipped(Buffer.from("bin/hello"))));
    expect(execFileSync("tar", ["-tvf", "-"], { input: tar }).toString()).toContain("l -> bin/hello");
  });

  it("whose target is longer than a path is refused before it is read", async () => {
    await expect(collect(asTar(zipped(Buffer.alloc(5_000, "x"))))).rejects.toThrow("is no path");
  });
});

describe("an upload", () => {
  const upload = (over = {}) => ({
    artifact: "droplet",
    from: "/tmp/d",
    to: `${base}/put?sig=secret`,
    logSource: "",
    user: "root",
    ...over,
  });

  it("sends the file whole, with its digests", async () => {
    const bytes = archive("tar", (folder) => writeFileSync(join(folder, "d"), "payload"));
    let seen: { headers: IncomingMessage["headers"]; body: string } | undefined;
    answer = (request, response) => {
      const chunks: Buffer[] = [];
      request.on("data", (chunk: Buffer) => chunks.push(chunk));
      request.on("end", () => {
        seen = { headers: request.headers, body: Buffer.concat(chunks).toString() };
        response.end();
      });
    };
    const transfers = new CellTransfers(instant, openCache("cache"));
    expect(await transfers.upload(container(bytes).container, upload(), never)).toBe(7);
    const digest = (name: string): string => createHash(name).update("payload").digest("base64");
    expect(seen).toMatchObject({
      body: "payload",
      headers: { "content-length": "7", "content-md5": digest("md5"), "content-digest": `sha-256=:${digest("sha256")}:` },
    });
    expect(readdirSync(join(folderOf("cache"), "tmp"))).toEqual([]);
  });

  it("of a file that is longer than a cell sends ends there, whatever room it says to take", async () => {
    const out = archive("tar", (folder) => writeFileSync(join(folder, "d"), Buffer.alloc(5_000)));
    const transfers = new CellTransfers(instant, openCache("cache"), 4_000);
    await expect(transfers.upload(container(out).container, upload(), never)).rejects.toThrow("Failed to establish stream");
    expect(asked).toHaveLength(0);
    expect(readdirSync(join(folderOf("cache"), "tmp"))).toEqual([]);
  });

  it.each([
    {
      what: "refused",
      out: () => archive("tar", (folder) => writeFileSync(join(folder, "d"), "x")),
      text: "Failed to upload payload for droplet",
      asks: 3,
    },
    { what: "of nothing", out: () => undefined, text: "Failed to establish stream from container", asks: 0 },
    {
      what: "of an empty folder",
      out: () => archive("tar", () => undefined),
      text: "Failed to find first item in tar stream",
      asks: 0,
    },
  ])("$what fails with the reference's words and no address", async ({ out, text, asks }) => {
    answer = (_request, response) => void response.writeHead(500).end();
    const transfers = new CellTransfers(instant, openCache("cache"));
    const failing = transfers.upload(container(out()).container, upload(), never);
    await expect(failing).rejects.toThrow(new RegExp(`^${text}$`));
    expect(asked).toHaveLength(asks);
  });
});
