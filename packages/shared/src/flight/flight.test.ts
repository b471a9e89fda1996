// Work shared by all who want it, and work that waits its turn.
import { describe, expect, it } from "vitest";
import { SingleFlight, Turns, Turnstile } from "./index.js";

const never = new AbortController().signal;

describe("shared work", () => {
  it("is done once for all who want it, and given up only when nobody does", async () => {
    const flight = new SingleFlight<string>();
    let started = 0;
    let gaveUp = false;
    let finish = (_value: string): void => {};
    const work = (signal: AbortSignal): Promise<string> => {
      started += 1;
      return new Promise((resolve, reject) => {
        finish = resolve;
        signal.addEventListener("abort", () => {
          gaveUp = true;
          reject(signal.reason);
        });
      });
    };
    const abort = new AbortController();
    const [first, second] = [flight.join("k", abort.signal, work), flight.join("k", never, work)];
    abort.abort(new Error("left"));
    await expect(first).rejects.toThrow("left");
    expect(gaveUp).toBe(false);
    finish("done");
    expect(await second).toBe("done");
    expect(started).toBe(1);
    const alone = new AbortController();
    const third = flight.join("k", alone.signal, work);
    alone.abort(new Error("left too"));
    await expect(third).rejects.toThrow("left too");
    expect([started, gaveUp]).toEqual([2, true]);
    const fourth = flight.join("k", never, work);
    finish("again");
    expect(await fourth).toBe("again");
  });
  it("goes through a turnstile a few at a time; who leaves the queue gives up his place", async () => {
    const turnstile = new Turnstile(1);
    const order: string[] = [];
    let release = (): void => {};
    const first = turnstile.run(never, () => new Promise<void>((resolve) => (release = resolve)));
    const abort = new AbortController();
    const second = turnstile.run(abort.signal, async () => order.push("second"));
    const third = turnstile.run(never, async () => order.push("third"));
    abort.abort(new Error("left"));
    await expect(second).rejects.toThrow("left");
    release();
    await Promise.all([first, third]);
    expect(order).toEqual(["third"]);
    await turnstile.run(never, async () => order.push("fourth"));
    expect(order).toEqual(["third", "fourth"]);
  });
  it("that is urgent goes before what waits already, in the order it came", async () => {
    const turnstile = new Turnstile(1);
    const order: string[] = [];
    let release = (): void => {};
    const first = turnstile.run(never, () => new Promise<void>((resolve) => (release = resolve)));
    const abort = new AbortController();
    const left = turnstile.run(abort.signal, async () => order.push("left"), "urgent");
    const others = [
      turnstile.run(never, async () => order.push("usual")),
      turnstile.run(never, async () => order.push("urgent"), "urgent"),
      turnstile.run(never, async () => order.push("urgent too"), "urgent"),
    ];
    abort.abort(new Error("left"));
    await expect(left).rejects.toThrow("left");
    release();
    await Promise.all([first, ...others]);
    expect(order).toEqual(["urgent", "urgent too", "usual"]);
  });
  it("of one key is done one after another, also past a failure, and keys do not wait for each other", async () => {
    const turns = new Turns();
    const order: string[] = [];
    let release = (): void => {};
    const first = turns.run("a", async () => {
      await new Promise<void>((resolve) => (release = resolve));
      throw new Error("first failed");
    });
    const second = turns.run("a", async () => order.push("a"));
    await turns.run("b", async () => order.push("b"));
    release();
    await expect(first).rejects.toThrow("first failed");
    await second;
    expect(order).toEqual(["b", "a"]);
  });
});
