// Backups as files: written under another name until they are whole and on disk, read a message at a time.
import { type FileHandle, open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { BackupResponse } from "@muster/proto/muster/v1/backup";
import { OperatorError } from "../errors/index.js";
import { BackupCheck, type BackupFacts } from "./check.js";
import { lengthBytes, lengthOf, magic, maxFrameBytes } from "./format.js";

/**
 * Writes the messages to `file`, for this user only. The name appears once everything is on disk and the end has proved the rest;
 * whatever fails before leaves nothing behind.
 * @throws OperatorError when the stream is no whole backup, or the file cannot be written.
 */
export async function writeBackup(
  file: string,
  messages: AsyncIterable<BackupResponse>,
): Promise<BackupFacts & { bytes: number }> {
  const partial = `${file}.partial`;
  const check = new BackupCheck("the backup the BBS sent");
  let bytes = magic.byteLength;
  const handle = await opened(partial, "w");
  try {
    await handle.chmod(0o600);
    await handle.write(magic);
    for await (const message of messages) {
      check.take(message);
      const frame = Buffer.from(BackupResponse.encode(message).finish());
      await handle.writev([lengthOf(frame), frame]);
      bytes += lengthBytes + frame.byteLength;
    }
    const facts = check.finish();
    await handle.sync();
    await handle.close();
    await rename(partial, file);
    await syncFolder(dirname(file));
    return { ...facts, bytes };
  } catch (error) {
    await handle.close().catch(() => undefined);
    await rm(partial, { force: true });
    if (isSystemError(error)) throw new OperatorError(`${file} cannot be written`, "mind its folder and disk", error);
    throw error;
  }
}

/**
 * The messages of a file, judged as they come: who has seen them all has seen a whole backup.
 * @throws OperatorError for a file that cannot be read, is no backup, or is damaged.
 */
export async function* readBackup(file: string): AsyncGenerator<BackupResponse, BackupFacts, undefined> {
  const handle = await opened(file, "r");
  try {
    const check = new BackupCheck(file);
    const begins = Buffer.alloc(magic.byteLength);
    if ((await filled(handle, begins)) < begins.byteLength || !begins.equals(magic)) throw noBackup(file);
    for (let frame = await nextFrame(file, handle); frame !== undefined; frame = await nextFrame(file, handle)) {
      const message = decoded(file, frame);
      check.take(message);
      yield message;
    }
    return check.finish();
  } catch (error) {
    throw isSystemError(error) ? new OperatorError(`${file} cannot be read`, "name a backup file", error) : error;
  } finally {
    await handle.close();
  }
}

const isSystemError = (error: unknown): boolean => error instanceof Error && "syscall" in error;

async function opened(file: string, flags: "r" | "w"): Promise<FileHandle> {
  try {
    return await open(file, flags, 0o600);
  } catch (cause) {
    throw new OperatorError(`${file} cannot be ${flags === "r" ? "read" : "written"}`, "mind its name, owner and folder", cause);
  }
}

const noBackup = (file: string): OperatorError =>
  new OperatorError(`${file} is no backup of Muster, or one of another version`, "name a file that `muster backup` wrote");

const cutShort = (file: string): OperatorError =>
  new OperatorError(`${file} is damaged: it was cut short`, "take another backup; nothing was changed");

async function nextFrame(file: string, handle: FileHandle): Promise<Buffer | undefined> {
  const length = Buffer.alloc(lengthBytes);
  const read = await filled(handle, length);
  if (read === 0) return undefined;
  const bytes = length.readUInt32BE();
  if (read < lengthBytes) throw cutShort(file);
  if (bytes > maxFrameBytes) throw new OperatorError(`${file} is damaged: a length is out of bounds`, "take another backup");
  const frame = Buffer.alloc(bytes);
  if ((await filled(handle, frame)) < bytes) throw cutShort(file);
  return frame;
}

/** How many bytes there were, up to the buffer's size. */
async function filled(handle: FileHandle, buffer: Buffer): Promise<number> {
  let at = 0;
  while (at < buffer.byteLength) {
    const { bytesRead } = await handle.read(buffer, at, buffer.byteLength - at);
    if (bytesRead === 0) break;
    at += bytesRead;
  }
  return at;
}

function decoded(file: string, frame: Buffer): BackupResponse {
  try {
    return BackupResponse.decode(frame);
  } catch (cause) {
    throw new OperatorError(`${file} is damaged: a message cannot be read`, "take another backup; nothing was changed", cause);
  }
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
