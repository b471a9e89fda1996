// The container state machine: every move, allowed or not.
import { describe, expect, it } from "vitest";
import { containerRecord } from "../testing/records.js";
import { boundReason, completed, containerMoves, containerStates, isStarting, mayBecome } from "./container.js";

describe("the container's state table", () => {
  const allowed = new Set([
    "reserved>initializing",
    "reserved>completed",
    "initializing>created",
    "initializing>completed",
    "created>running",
    "created>completed",
    "running>completed",
  ]);
  const square = containerStates.flatMap((from) => containerStates.map((to) => ({ from, to })));

  it.each(square)("$from to $to", ({ from, to }) => {
    expect(mayBecome(from, to)).toBe(allowed.has(`${from}>${to}`));
  });

  it("ends in a state that nothing follows", () => {
    expect(containerMoves.completed).toEqual([]);
  });

  it("counts as starting until it runs", () => {
    expect(containerStates.filter((state) => isStarting(containerRecord("a", { state })))).toEqual([
      "reserved",
      "initializing",
      "created",
    ]);
  });
});

describe("a completed container", () => {
  it("keeps the first cause of its end", () => {
    const first = completed(containerRecord("a", { state: "running", routable: true }), "crashed", "out of memory");
    expect(first).toMatchObject({ state: "completed", ending: "crashed", failureReason: "out of memory", routable: false });
    expect(completed(first, "removed", "stopped")).toBe(first);
  });

  it("has a reason of at most 10,000 characters, of which both ends are kept", () => {
    const text = `begin${"x".repeat(20_000)}end`;
    const bounded = boundReason(text);
    expect(bounded.length).toBeLessThanOrEqual(10_000);
    expect(bounded).toMatch(/^beginx+ … \(cut\) … x+end$/);
    expect(boundReason("short")).toBe("short");
  });
});
