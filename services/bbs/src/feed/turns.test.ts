// Pieces of long answers: one in a turn of the event loop, and everybody's turn comes.
import { expect, it } from "vitest";
import { turns } from "./turns.js";

it("gives each turn of the event loop to one piece, in order, whoever comes meanwhile", async () => {
  let turn = 0;
  let counting = setImmediate(function count() {
    turn += 1;
    counting = setImmediate(count);
  });
  const made: [string, number][] = [];
  const make = async (name: string, pieces: number): Promise<void> => {
    for (let piece = 0; piece < pieces; piece += 1) {
      await turns.next();
      made.push([name, turn]);
    }
  };
  const first = [make("a", 3), make("b", 3)];
  await first[0];
  await Promise.all([...first, make("c", 2)]);
  clearImmediate(counting);
  expect(made.map(([name]) => name).join("")).toMatch(/^abababc+$|^ababa[bc]{3}$/);
  expect(made).toHaveLength(8);
  const at = made.map(([, one]) => one);
  expect(new Set(at).size).toBe(at.length);
});
