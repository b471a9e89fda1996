// Log rings and their followers: bounds, order, slow followers.
import { fakeClock } from "@muster/shared/clock";
import { asDomainName, asInstanceGuid, asProcessGuid } from "@muster/shared/model";
import { describe, expect, it } from "vitest";
import { defaultLogBounds, LogHub, type LogLine } from "./hub.js";

const key = (processGuid: string) => ({ processGuid: asProcessGuid(processGuid), index: 0, domain: asDomainName("apps") });
const all = { processGuid: "", instanceGuid: "" };
const texts = (lines: readonly LogLine[]): string[] => lines.map((line) => Buffer.from(line.line).toString());

function world(bounds: Partial<typeof defaultLogBounds> = {}) {
  const clock = fakeClock();
  const hub = new LogHub(clock, { ...defaultLogBounds, ...bounds });
  const say = (process: string, instance: string, text: string): void =>
    hub.say(key(process), asInstanceGuid(instance), "APP", text);
  return { clock, hub, say };
}

/** Reads until the stream ends; what it said, and how it ended. */
function reader(lines: AsyncIterable<LogLine>) {
  const seen: string[] = [];
  const ended = (async () => {
    for await (const line of lines) seen.push(Buffer.from(line.line).toString());
  })();
  ended.catch(() => undefined);
  return { seen, ended };
}

describe("kept lines", () => {
  it("are the last ones, by number and by bytes", () => {
    const { hub, say } = world({ linesPerInstance: 3, bytesPerInstance: 10 });
    for (const text of ["a", "b", "c", "d"]) say("p", "i", text);
    expect(texts(hub.recent(all))).toEqual(["b", "c", "d"]);
    say("p", "i", "123456789");
    expect(texts(hub.recent(all))).toEqual(["d", "123456789"]);
  });

  it("are given by instance or by process, in order of time", async () => {
    const { clock, hub, say } = world();
    say("p", "i1", "first");
    await clock.advance(5);
    say("p", "i2", "second");
    say("q", "j", "other");
    await clock.advance(5);
    say("p", "i1", "third");
    expect(texts(hub.recent({ processGuid: "p", instanceGuid: "" }))).toEqual(["first", "second", "third"]);
    expect(texts(hub.recent({ processGuid: "p", instanceGuid: "i2" }))).toEqual(["second"]);
  });

  it("carry the time at which they were written", () => {
    const { hub } = world();
    hub.append(key("p"), asInstanceGuid("i"), "APP", "stderr", Buffer.from("x"), 1_234.5);
    expect(hub.recent(all)[0]).toMatchObject({ timeNs: 1_234_500_000n, stream: "stderr", source: "APP" });
  });

  it("outlive their instance, for a while and for a number of instances", async () => {
    const { clock, hub, say } = world({ goneInstances: 2, goneMs: 1_000 });
    for (const instance of ["a", "b", "c"]) {
      say("p", instance, `of ${instance}`);
      await clock.advance(1);
      hub.gone(asInstanceGuid(instance));
    }
    say("p", "alive", "still");
    expect(texts(hub.recent(all))).toEqual(["of b", "of c", "still"]);
    await clock.advance(1_001);
    expect(texts(hub.recent(all))).toEqual(["still"]);
  });
});

describe("followers", () => {
  it("get what is kept, then what comes, of instances that were not there before too", async () => {
    const { clock, hub, say } = world();
    say("p", "i", "kept");
    const stop = new AbortController();
    const { seen, ended } = reader(hub.follow({ processGuid: "p", instanceGuid: "" }, stop.signal));
    await clock.advance(0);
    say("p", "i", "new");
    say("p", "i2", "of another");
    say("q", "j", "not asked for");
    await clock.advance(0);
    expect(seen).toEqual(["kept", "new", "of another"]);
    stop.abort();
    await ended;
  });

  it("are cut when they are too slow", async () => {
    const { clock, hub, say } = world({ followerLines: 2 });
    const stop = new AbortController();
    const lines = hub.follow(all, stop.signal);
    const first = lines.next();
    await clock.advance(0);
    for (const text of ["1", "2", "3", "4"]) say("p", "i", text);
    expect(Buffer.from((await first).value?.line ?? []).toString()).toBe("1");
    expect((await lines.next()).done).toBe(false);
    await expect(lines.next()).rejects.toMatchObject({ code: "ResourceExhausted" });
  });

  it("are bounded in number, and one that leaves makes room", async () => {
    const { clock, hub } = world({ followers: 1 });
    const stop = new AbortController();
    const first = reader(hub.follow(all, stop.signal));
    await clock.advance(0);
    await expect(hub.follow(all, stop.signal).next()).rejects.toMatchObject({ code: "ResourceExhausted" });
    stop.abort();
    await first.ended;
    expect((await hub.follow(all, stop.signal).next()).done).toBe(true);
  });
});
