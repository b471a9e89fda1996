// The runner on a fake clock: what is placed when, what is told to the BBS, and what happens when cells and calls misbehave.
import { BbsError } from "@muster/shared/errors";
import { asEpochMs, drop, put } from "@muster/shared/model";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { lrpWorkKey } from "../plan/index.js";
import { claimed, desired, FakeWorld, pendingTask, processGuid, row } from "./testing/world.js";

let world: FakeWorld;

beforeEach(() => {
  world = new FakeWorld();
});

afterEach(() => world.stop());

const advance = (ms: number): Promise<void> => world.clock.advance(ms);

describe("placing", () => {
  it("places at once what is new, under the key and the row's modification tag", async () => {
    world.addCell("a", "z1");
    world.addCell("b", "z2");
    await world.start();
    world.write(put("desiredLRP", desired()), put("actualLRP", row(0)), put("actualLRP", row(1)));
    await advance(10);
    expect(world.performed).toEqual(["a p/0@row-0.0", "b p/1@row-1.0"]);
    expect(world.failures).toEqual([]);
  });

  it("hands over the whole ask", async () => {
    const cell = world.addCell("a");
    await world.start();
    world.write(put("desiredLRP", desired({ maxPids: 7, memoryMb: 33 })), put("actualLRP", row(0)));
    await advance(10);
    expect(cell.performed).toEqual([
      {
        cellId: "a",
        lrps: [
          {
            auctionId: "p/0@row-0.0",
            processGuid: "p",
            index: 0,
            domain: "d",
            rootFs: "preloaded:linux",
            memoryMb: 33,
            diskMb: 10,
            maxPids: 7,
            placementTags: [],
            volumeDrivers: [],
          },
        ],
        tasks: [],
      },
    ]);
  });

  it("waits at the start for every live cell to tell its state, so that the first to answer is not flooded", async () => {
    const late = world.addCell("late");
    late.mute = true;
    world.addCell("a");
    world.write(put("desiredLRP", desired()), put("actualLRP", row(0)), put("actualLRP", row(1)));
    await world.start();
    await advance(500);
    expect(world.performed).toEqual([]);
    late.mute = false;
    late.tell(true);
    await advance(300);
    expect(world.performed).toEqual(["late p/1@row-1.0", "a p/0@row-0.0"]);
  });

  it("goes on without a cell that tells nothing for a second", async () => {
    world.addCell("mute").mute = true;
    world.addCell("a");
    world.write(put("desiredLRP", desired()), put("actualLRP", row(0)));
    await world.start();
    await advance(1_300);
    expect(world.performed).toEqual(["a p/0@row-0.0"]);
  });

  it("leaves out a cell that fell silent for a second, and takes it back when it speaks", async () => {
    const silent = world.addCell("a");
    world.addCell("b").memoryMb = 0;
    await world.start();
    silent.mute = true;
    await advance(1_700);
    world.write(put("desiredLRP", desired()), put("actualLRP", row(0)));
    await advance(50);
    expect(world.performed).toEqual([]);
    expect(world.runner.cellStates().map(({ cellId, status }) => `${cellId} ${status}`)).toEqual(["a silent", "b healthy"]);
    silent.mute = false;
    await advance(700);
    expect(world.performed).toEqual(["a p/0@row-0.1"]);
  });

  it("places nothing that is unwanted, stop-marked, or stopped by the flag", async () => {
    world.addCell("a");
    await world.start();
    world.write(
      put("desiredLRP", desired({ instances: 2 })),
      put("actualLRP", row(2)),
      put("actualLRP", row(1, { stopMarked: true })),
      put("actualLRP", row(0, { presence: "SUSPECT" })),
      put("task", pendingTask({ rootFs: "docker:///library/redis" })),
    );
    world.write(put("desiredLRP", desired({ instances: 2, rootFs: "docker:///library/redis" })), put("actualLRP", row(0)));
    await advance(1_000);
    expect(world.performed).toEqual([]);
    expect(world.failures).toEqual([]);
  });

  it("places the rows of a process that is wanted again", async () => {
    world.addCell("a");
    await world.start();
    world.write(put("desiredLRP", desired({ instances: 0 })), put("actualLRP", row(0)));
    await advance(50);
    expect(world.performed).toEqual([]);
    world.write(put("desiredLRP", desired({ instances: 1 })));
    await advance(50);
    expect(world.performed).toEqual(["a p/0@row-0.0"]);
  });

  it("reserves what is in flight until the cell's state shows it", async () => {
    const cell = world.addCell("a");
    cell.showsWork = false;
    await world.start();
    world.write(put("desiredLRP", desired({ memoryMb: 60 })), put("actualLRP", row(0)));
    await advance(50);
    world.write(put("actualLRP", row(1)));
    await advance(50);
    expect(world.performed).toEqual(["a p/0@row-0.0"]);
    expect(world.failures).toMatchObject([{ judgedTag: "row-1.0", error: "insufficient resources: memory" }]);
    cell.memoryMb -= 60;
    cell.showsWork = true;
    world.write(put("actualLRP", claimed(0, "a")), put("actualLRP", row(2)), put("desiredLRP", desired({ memoryMb: 40 })));
    await advance(1_000);
    expect(world.performed.slice(1)).toEqual(["a p/1@row-1.1"]);
  });

  it("acts on nothing while the lock is not held", async () => {
    world.addCell("a");
    world.mayAct = false;
    world.write(put("desiredLRP", desired()), put("actualLRP", row(0)), put("actualLRP", row(1, { placementError: "" })));
    await world.start();
    await advance(2_000);
    expect(world.performed).toEqual([]);
    world.mayAct = true;
    await advance(300);
    expect(world.performed).toHaveLength(2);
  });

  it("acts on nothing while the BBS says nothing: the rows may have moved long ago", async () => {
    world.addCell("a");
    await world.start();
    world.write(put("desiredLRP", desired()), put("actualLRP", row(0)));
    world.cells.get("a")?.breakStream();
    world.watchIsMute = true;
    await advance(40_000);
    const asked = world.performed.length;
    await advance(60_000);
    expect(world.performed).toHaveLength(asked);
    world.watchIsMute = false;
    await advance(35_000);
    expect(world.performed.length).toBeGreaterThan(asked);
  });
});

describe("in flight", () => {
  it("is not placed again for 30 s, and then is", async () => {
    const cell = world.addCell("a");
    cell.showsWork = false;
    await world.start();
    world.write(put("desiredLRP", desired()), put("actualLRP", row(0)));
    await advance(29_000);
    expect(cell.performedIds).toEqual(["p/0@row-0.0"]);
    await advance(1_500);
    expect(cell.performedIds).toEqual(["p/0@row-0.0", "p/0@row-0.0"]);
  });

  it("is bounded: more is placed once half of it is claimed, and after a second whatever is", async () => {
    const bounded = new FakeWorld({ maxInFlight: 4 });
    const placed = (): number => bounded.performed.length;
    try {
      bounded.addCell("a");
      await bounded.start();
      bounded.write(put("desiredLRP", desired()), ...[0, 1, 2, 3, 4, 5, 6, 7].map((index) => put("actualLRP", row(index))));
      await bounded.clock.advance(2_500);
      expect(placed()).toBe(4);
      bounded.write(put("actualLRP", claimed(0, "a")), put("actualLRP", claimed(1, "a")));
      await bounded.clock.advance(50);
      expect(placed()).toBe(6);
      bounded.write(put("actualLRP", claimed(2, "a")));
      await bounded.clock.advance(500);
      expect(placed()).toBe(6);
      await bounded.clock.advance(1_000);
      expect(placed()).toBe(7);
    } finally {
      await bounded.stop();
    }
  });

  it("ends when the row changes: a crashed instance is placed at once, under its new tag", async () => {
    world.addCell("a");
    await world.start();
    world.write(put("desiredLRP", desired()), put("actualLRP", row(0)));
    await advance(50);
    world.write(put("actualLRP", claimed(0, "a")));
    await advance(50);
    world.write(put("actualLRP", row(0, { modificationTag: { epoch: "row-0", index: 2 } })));
    await advance(50);
    expect(world.performed).toEqual(["a p/0@row-0.0", "a p/0@row-0.2"]);
  });

  it("ends when the cell's stream breaks: another cell gets the work", async () => {
    const first = world.addCell("a");
    first.showsWork = false;
    const second = world.addCell("b");
    await world.start();
    world.write(put("desiredLRP", desired()), put("actualLRP", row(0)));
    await advance(50);
    expect(world.performed).toEqual(["a p/0@row-0.0"]);
    first.breakStream();
    await advance(20);
    expect(second.performedIds).toEqual(["p/0@row-0.0"]);
  });

  it("ends when the cell's presence is gone", async () => {
    world.addCell("a");
    const second = world.addCell("b");
    await world.start();
    world.write(put("desiredLRP", desired()), put("actualLRP", row(0)));
    await advance(50);
    world.loseCell("a");
    await advance(20);
    expect(second.performedIds).toEqual(["p/0@row-0.0"]);
  });

  it("is asked for again under the same id while nobody answers, and only there", async () => {
    const cell = world.addCell("a");
    world.addCell("b");
    cell.manner = "unavailable";
    await world.start();
    world.write(put("desiredLRP", desired()), put("actualLRP", row(0)));
    await advance(350);
    cell.manner = "takes";
    await advance(1_000);
    expect(cell.performedIds.length).toBeGreaterThan(1);
    expect(new Set(world.performed)).toEqual(new Set(["a p/0@row-0.0"]));
    const asked = cell.performedIds.length;
    await advance(10_000);
    expect(cell.performedIds).toHaveLength(asked);
  });

  it("is not asked for again once the row has moved", async () => {
    const cell = world.addCell("a");
    cell.manner = "unavailable";
    await world.start();
    world.write(put("desiredLRP", desired()), put("actualLRP", row(0)), put("actualLRP", row(1)));
    await advance(50);
    world.write(drop("actualLRP", row(0)));
    cell.performed.length = 0;
    cell.manner = "takes";
    await advance(1_000);
    expect(cell.performedIds).toEqual(["p/1@row-1.0"]);
  });

  it("a cell that hangs at taking work stalls nobody: it is left out until it answers", async () => {
    const hung = world.addCell("a");
    world.addCell("b");
    hung.manner = "hangs";
    await world.start();
    world.write(put("desiredLRP", desired()), put("actualLRP", row(0)), put("actualLRP", row(1)));
    await advance(50);
    expect(world.performed).toEqual(["a p/0@row-0.0", "b p/1@row-1.0"]);
    await advance(2_100);
    world.write(put("actualLRP", row(2)), put("actualLRP", row(3)));
    await advance(50);
    expect(world.cells.get("b")?.performedIds).toEqual(["p/1@row-1.0", "p/2@row-2.0", "p/3@row-3.0"]);
    hung.manner = "takes";
    await advance(3_500);
    world.write(put("actualLRP", row(4)));
    await advance(50);
    expect(hung.performedIds.at(-1)).toBe("p/4@row-4.0");
  });
});

describe("failures", () => {
  it("are written once while they stay the same, and tried again after 30 s at the latest", async () => {
    const cell = world.addCell("a");
    cell.memoryMb = 5;
    await world.start();
    world.write(put("desiredLRP", desired()), put("actualLRP", row(0)));
    await advance(95_000);
    expect(world.failures).toEqual([
      { key: { processGuid, index: 0, domain: "d" }, judgedTag: "row-0.0", error: "insufficient resources: memory" },
    ]);
    cell.evacuating = true;
    await advance(31_000);
    expect(world.failures.map(({ judgedTag, error }) => `${judgedTag} ${error}`)).toEqual([
      "row-0.0 insufficient resources: memory",
      "row-0.1 unable to communicate to compatible cells",
    ]);
  });

  it("end as soon as a cell frees room", async () => {
    const cell = world.addCell("a");
    cell.memoryMb = 5;
    await world.start();
    world.write(put("desiredLRP", desired()), put("actualLRP", row(0)));
    await advance(5_000);
    cell.memoryMb = 50;
    await advance(700);
    expect(world.performed).toEqual(["a p/0@row-0.1"]);
  });

  it("end as soon as a cell joins", async () => {
    await world.start();
    world.write(put("desiredLRP", desired()), put("actualLRP", row(0)));
    await advance(5_000);
    expect(world.failures).toMatchObject([{ error: "unable to communicate to compatible cells" }]);
    world.addCell("a");
    await advance(300);
    expect(world.performed).toEqual(["a p/0@row-0.1"]);
  });

  it("are not told while a cell is joining that might take the work", async () => {
    await world.start();
    const joining = world.addCell("a");
    joining.mute = true;
    world.write(put("desiredLRP", desired()), put("actualLRP", row(0)));
    await advance(500);
    joining.mute = false;
    joining.tell(true);
    await advance(100);
    expect(world.performed).toEqual(["a p/0@row-0.0"]);
    expect(world.failures).toEqual([]);
  });

  it("are told after 2 s although some cell is joining all the time", async () => {
    await world.start();
    for (let i = 0; i < 6; i += 1) {
      world.addCell(`mute-${i}`).mute = true;
      await advance(10);
      if (i === 0) world.write(put("desiredLRP", desired()), put("actualLRP", row(0)));
      await advance(490);
      if (i === 2) expect(world.failures).toEqual([]);
    }
    expect(world.failures).toMatchObject([{ error: "unable to communicate to compatible cells" }]);
  });

  it("of a call are repeated with the next try", async () => {
    world.failureError = new BbsError("Unavailable");
    await world.start();
    world.write(put("desiredLRP", desired()), put("actualLRP", row(0)));
    await advance(1_000);
    world.failureError = undefined;
    await advance(31_000);
    expect(world.failures.map(({ judgedTag }) => judgedTag)).toEqual(["row-0.0", "row-0.0"]);
    expect(world.tables.rows(processGuid, 0).ORDINARY?.placementError).toBe("unable to communicate to compatible cells");
  });

  it("of a cell's refusal carry the cell's reason, and the work is soon offered again", async () => {
    const cell = world.addCell("a");
    cell.manner = "refuses";
    await world.start();
    world.write(put("desiredLRP", desired()), put("actualLRP", row(0)));
    await advance(100);
    expect(world.failures).toMatchObject([{ judgedTag: "row-0.0", error: "a is full" }]);
    cell.manner = "takes";
    await advance(600);
    expect(cell.performedIds).toEqual(["p/0@row-0.0", "p/0@row-0.1"]);
  });

  it("a cell that keeps refusing is asked less and less often, and told of once", async () => {
    const cell = world.addCell("a");
    cell.manner = "refuses";
    await world.start();
    world.write(put("desiredLRP", desired()), put("actualLRP", row(0)));
    await advance(60_000);
    expect(cell.performedIds.length).toBeLessThan(12);
    expect(world.failures).toHaveLength(1);
  });

  it("a request refused as a whole fails all its work with the reason", async () => {
    world.addCell("a").manner = "forbids";
    await world.start();
    world.write(put("desiredLRP", desired()), put("actualLRP", row(0)));
    await advance(100);
    expect(world.failures).toMatchObject([{ error: "cell a refused the request: not an auctioneer" }]);
  });

  it("wait for the row to show them before the work is tried again", async () => {
    const cell = world.addCell("a");
    cell.memoryMb = 5;
    await world.start();
    let release: () => void = () => undefined;
    const bbsCall = world.failActualLRP.bind(world);
    world.failActualLRP = async (failure) => {
      await new Promise<void>((resolve) => {
        release = resolve;
      });
      return bbsCall(failure);
    };
    world.write(put("desiredLRP", desired()), put("actualLRP", row(0)));
    await advance(100);
    cell.memoryMb = 50;
    await advance(1_000);
    expect(world.performed).toEqual([]);
    release();
    await advance(600);
    cell.memoryMb = 51;
    await advance(1_000);
    expect(world.performed).toEqual(["a p/0@row-0.1"]);
  });
});

describe("tasks", () => {
  it("are placed, and reserved like instances", async () => {
    const cell = world.addCell("a");
    await world.start();
    world.write(put("task", pendingTask()));
    await advance(50);
    expect(cell.performed).toMatchObject([{ cellId: "a", lrps: [], tasks: [{ auctionId: "t@1", taskGuid: "t", memoryMb: 10 }] }]);
  });

  it("are tried once in 30 s, whatever frees, and every failed try is written", async () => {
    const cell = world.addCell("a");
    cell.memoryMb = 5;
    await world.start();
    world.write(put("task", pendingTask()));
    await advance(62_000);
    expect(world.rejections.map(({ judgedSequence }) => judgedSequence)).toEqual(["1", "2", "3"]);
    expect(world.rejections[0]?.reason).toBe("insufficient resources: memory");
    cell.memoryMb = 50;
    await advance(10_000);
    expect(world.performed).toEqual([]);
    await advance(20_000);
    expect(world.performed).toEqual(["a t@4"]);
  });

  it("rejected by a cell wait out their 30 s, also under a successor", async () => {
    world.addCell("a");
    const rejectedAtMs = asEpochMs(world.clock.nowMs() - 10_000);
    world.write(put("task", pendingTask({ rejectionCount: 1, updatedAtNs: (BigInt(rejectedAtMs) * 1_000_000n) as never })));
    await world.start();
    await advance(19_000);
    expect(world.performed).toEqual([]);
    await advance(1_500);
    expect(world.performed).toEqual(["a t@1"]);
  });

  it("gone from the BBS are gone from the book", async () => {
    await world.start();
    world.write(put("task", pendingTask()));
    await advance(50);
    expect(world.runner.book.size).toBe(1);
    world.write(drop("task", pendingTask()));
    await advance(50);
    expect(world.runner.book.size).toBe(0);
  });
});

describe("explaining", () => {
  it("keeps the last verdict and where work is in flight", async () => {
    const cell = world.addCell("a");
    cell.memoryMb = 5;
    cell.showsWork = false;
    await world.start();
    world.write(put("desiredLRP", desired()), put("actualLRP", row(0)));
    await advance(100);
    const entry = () => world.runner.book.entry(lrpWorkKey("p", 0));
    expect(entry()).toMatchObject({ phase: "held", verdict: { error: "insufficient resources: memory" } });
    expect(entry()?.verdict?.explanation.verdicts).toMatchObject([
      { cellId: "a", filter: "memory", asked: "10 MB", available: "5 MB of 100 MB" },
    ]);
    cell.memoryMb = 50;
    await advance(1_000);
    expect(entry()).toMatchObject({ phase: "in-flight", cellId: "a" });
  });
});
