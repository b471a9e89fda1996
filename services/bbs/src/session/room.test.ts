// Who gets in when the room for reports is full, and in which order.
import { describe, expect, it } from "vitest";
import { Room } from "./room.js";

/** Work that ends when told to, and tells when it began. */
function works(room: Room) {
  const begun: string[] = [];
  const ends = new Map<string, (error?: Error) => void>();
  return {
    begun,
    add: (name: string, items: number): Promise<void> =>
      room.within(items, () => {
        begun.push(name);
        return new Promise((resolve, reject) => ends.set(name, (error) => (error === undefined ? resolve() : reject(error))));
      }),
    end: async (name: string, error?: Error): Promise<void> => {
      ends.get(name)?.(error);
      await new Promise((resolve) => setImmediate(resolve));
    },
  };
}

describe("the room for reports", () => {
  it("admits what fits, the rest in the order of coming, and nobody overtakes", async () => {
    const { begun, add, end } = works(new Room(10));
    const all = [add("a", 6), add("b", 4), add("large", 8), add("small", 1)];
    await end("nobody");
    expect(begun).toEqual(["a", "b"]);
    await end("b");
    expect(begun).toEqual(["a", "b"]);
    await end("a");
    expect(begun).toEqual(["a", "b", "large", "small"]);
    await end("large");
    await end("small");
    await Promise.all(all);
  });

  it("gives the places of failed work back, and takes what is larger than itself alone", async () => {
    const { begun, add, end } = works(new Room(10));
    const failed = expect(add("a", 10)).rejects.toThrow("refused");
    const huge = add("huge", 1_000);
    const after = add("after", 1);
    await end("a", new Error("refused"));
    await failed;
    expect(begun).toEqual(["a", "huge"]);
    await end("huge");
    expect(begun).toEqual(["a", "huge", "after"]);
    await end("after");
    await Promise.all([huge, after]);
  });
});
