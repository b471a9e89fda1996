// One file over HTTP into a local file, with the reference's patience (cell.md section 6): attempts, pauses, time-outs, checksums.
import { createHash } from "node:crypto";
import { createWriteStream } from "node:fs";
import { rm } from "node:fs/promises";
import { pipeline } from "node:stream/promises";
import type { Clock } from "@muster/shared/clock";
import type { Checksum } from "../plan/index.js";

/** What a server said of a file, to ask later whether it has changed. */
export interface Validators {
  readonly etag: string;
  readonly lastModified: string;
}

export type Downloaded =
  | { readonly unchanged: true }
  | { readonly unchanged: false; readonly bytes: number; readonly validators: Validators };

/** The bytes are not those that were asked for: asking again would not help. */
export class ChecksumError extends Error {
  override readonly name = "ChecksumError";
}

export const attempts = 5;
const firstPauseMs = 500;
const longestPauseMs = 16_000;
const idleMs = 10_000;
const totalMs = 600_000;

/** An address with the login it may have held: `fetch` takes none in the address. */
export interface Target {
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
}

/** Only what a server of files speaks. @throws Error, which never holds the address: it may be signed. */
export function targetOf(from: string): Target {
  let url: URL;
  try {
    url = new URL(from);
  } catch {
    throw new Error("the address cannot be read");
  }
  if (url.protocol !== "http:" && url.protocol !== "https:") throw new Error(`${url.protocol} is no way to a file`);
  if (url.username === "" && url.password === "") return { url, headers: {} };
  const login = `${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`;
  url.username = "";
  url.password = "";
  return { url, headers: { authorization: `Basic ${Buffer.from(login).toString("base64")}` } };
}

export interface DownloadRequest {
  readonly from: string;
  readonly file: string;
  readonly checksum: Checksum;
  /** Of the copy that is here; none asks for the whole. */
  readonly validators: Validators | undefined;
  readonly maxBytes: number;
}

/** Downloads to `request.file`, or learns that the copy here is still good. @throws Error after the last attempt, or the signal's reason. */
export async function download(clock: Clock, request: DownloadRequest, signal: AbortSignal): Promise<Downloaded> {
  const target = targetOf(request.from);
  for (let attempt = 1, pauseMs = firstPauseMs; ; attempt += 1, pauseMs = Math.min(longestPauseMs, pauseMs * 2)) {
    try {
      return await once(clock, target, request, signal);
    } catch (error) {
      await rm(request.file, { force: true });
      signal.throwIfAborted();
      if (attempt >= attempts || error instanceof ChecksumError) throw error;
      await clock.sleep(pauseMs, signal);
    }
  }
}

async function once(
  clock: Clock,
  { url, headers: login }: Target,
  request: DownloadRequest,
  signal: AbortSignal,
): Promise<Downloaded> {
  const late = new AbortController();
  const either = AbortSignal.any([signal, late.signal]);
  let cancelIdle = clock.after(idleMs, () => late.abort(new Error("the server fell silent")));
  const cancelTotal = clock.after(totalMs, () => late.abort(new Error("the download took too long")));
  const heard = (): void => {
    cancelIdle();
    cancelIdle = clock.after(idleMs, () => late.abort(new Error("the server fell silent")));
  };
  try {
    const { validators } = request;
    const headers: Record<string, string> = { ...login, "accept-encoding": "identity" };
    if (validators !== undefined && validators.etag !== "") headers["if-none-match"] = validators.etag;
    if (validators !== undefined && validators.lastModified !== "") headers["if-modified-since"] = validators.lastModified;
    const response = await fetch(url, { headers, signal: either, redirect: "follow" });
    heard();
    if (response.status === 304 && validators !== undefined) return { unchanged: true };
    if (!response.ok || response.body === null) throw new Error(`the server answered with status ${response.status}`);
    const bytes = await save(response.body, request, heard, either);
    const header = (name: string): string => response.headers.get(name) ?? "";
    return { unchanged: false, bytes, validators: { etag: header("etag"), lastModified: header("last-modified") } };
  } finally {
    cancelIdle();
    cancelTotal();
  }
}

async function save(
  body: AsyncIterable<Uint8Array>,
  { file, checksum, maxBytes }: DownloadRequest,
  heard: () => void,
  signal: AbortSignal,
): Promise<number> {
  const hash = checksum.value === "" ? undefined : createHash(checksum.algorithm.toLowerCase());
  let bytes = 0;
  const counted = async function* (): AsyncGenerator<Uint8Array> {
    for await (const chunk of body) {
      heard();
      bytes += chunk.length;
      if (bytes > maxBytes) throw new ChecksumError("the file is larger than the cell's cache");
      hash?.update(chunk);
      yield chunk;
    }
  };
  await pipeline(counted, createWriteStream(file, { mode: 0o600 }), { signal });
  if (hash !== undefined && hash.digest("hex") !== checksum.value.toLowerCase()) {
    throw new ChecksumError(`the file's ${checksum.algorithm} is not the one asked for`);
  }
  return bytes;
}
