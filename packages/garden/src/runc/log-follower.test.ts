// Following a process's log file: across rotation, partial lines and a restart of the reader.
import { appendFile, mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fakeClock, systemClock } from "@muster/shared/clock";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { LogFollower, parseLogLine } from "./log-follower.js";

let folder = "";
let file = "";
let seen: string[] = [];
const line = (text: string, stream = "stdout", tag = "F"): string =>
  `2026-11-21T13:00:00.123456789+00:00 ${stream} ${tag} ${text}\n`;
const open = (): LogFollower =>
  new LogFollower(systemClock, file, (stream, chunk, at) =>
    seen.push(`${stream}:${Buffer.from(chunk).toString()}:${at % 1_000}`),
  );

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "muster-log-"));
  file = join(folder, "log");
  seen = [];
});
afterEach(() => rm(folder, { recursive: true, force: true }));

describe("a log line", () => {
  it("is a whole line, or a part without its newline", () => {
    expect(parseLogLine(Buffer.from(line("a b").trimEnd()))).toMatchObject({ stream: "stdout", chunk: Buffer.from("a b\n") });
    expect(parseLogLine(Buffer.from(line("a", "stderr", "P").trimEnd()))).toMatchObject({
      stream: "stderr",
      chunk: Buffer.from("a"),
    });
    expect(parseLogLine(Buffer.from(line("").slice(0, -1)))).toMatchObject({ chunk: Buffer.from("\n") });
  });
  it.each(["", "nonsense", "today stdout F x", "2026-11-21T13:00:00Z stdin F x", "2026-11-21T13:00:00Z stdout X x"])(
    "'%s' is none",
    (text) => {
      expect(parseLogLine(Buffer.from(text))).toBeUndefined();
    },
  );
});

describe("a follower", () => {
  it("waits for the file, reads each line once, and a torn one when it is whole", async () => {
    const follower = open();
    await follower.drain();
    await writeFile(file, line("one") + line("two").slice(0, 40));
    await follower.drain();
    expect(seen).toEqual(["stdout:one\n:123"]);
    await appendFile(file, line("two").slice(40));
    await follower.drain();
    await follower.drain();
    expect(seen).toEqual(["stdout:one\n:123", "stdout:two\n:123"]);
    await follower.close();
  });

  it("reads a file that was replaced to its end before the new one", async () => {
    const follower = open();
    await writeFile(file, line("one"));
    await follower.drain();
    await appendFile(file, line("two"));
    await writeFile(`${file}.tmp`, line("three"));
    await rename(`${file}.tmp`, file);
    await follower.drain();
    expect(seen.map((item) => item.split(":")[1])).toEqual(["one\n", "two\n", "three\n"]);
    await follower.close();
  });

  it("hands on lines of one moment and stream together", async () => {
    await writeFile(file, line("a") + line("b") + line("c", "stderr") + line("d"));
    const follower = open();
    await follower.drain();
    expect(seen).toEqual(["stdout:a\nb\n:123", "stderr:c\n:123", "stdout:d\n:123"]);
    await follower.close();
  });

  it("reads a flood at its own pace, and what is left of it at once when it ends", async () => {
    const mib = 1_048_576;
    await writeFile(file, line("x".repeat(7_000)).repeat(Math.ceil((20 * mib) / 7_052)));
    const clock = fakeClock();
    let bytes = 0;
    const follower = new LogFollower(clock, file, (_stream, chunk) => {
      bytes += chunk.length;
    });
    const drained = follower.drain();
    await vi.waitFor(() => expect(clock.nextTimerMs()).toBeDefined(), 10_000);
    expect(bytes).toBeGreaterThan(7 * mib);
    expect(bytes).toBeLessThan(9 * mib);
    follower.rush();
    await drained;
    expect(bytes).toBeGreaterThan(19 * mib);
    await follower.close();
  });
});
