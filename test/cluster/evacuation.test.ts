// Cells that go away while an app is in use: emptied for maintenance, nobody notices; pulled without warning, everything runs elsewhere
// soon. Real containers, and a router that follows the BBS.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { emptyCell, pullCell } from "../support/evacuation.js";
import { leftovers } from "../support/garden.js";
import { pushImage, webCommand } from "../support/images.js";
import { Platform } from "../support/platform.js";
import { startRegistry, type TestRegistry } from "../support/registry.js";
import { Router } from "../support/router.js";

const cells = ["cell-1", "cell-2", "cell-3"];
const presenceTtlMs = 3_000;
const options = { requestsPerSecond: 100, patienceMs: 40_000 };

describe("a cell that goes away under load", () => {
  let registry: TestRegistry;
  let platform: Platform;
  let router: Router;

  beforeAll(async () => {
    registry = await startRegistry();
    const image = await pushImage(registry.host, { name: "check/app", cmd: webCommand, exposedPorts: ["8080/tcp"] });
    const flags = ["--cells", "3", "--insecure-registry", registry.host, "--presence-ttl", `${presenceTtlMs / 1_000}s`];
    platform = await Platform.start(flags);
    await platform.muster("enable-feature-flag", "diego_docker");
    await platform.muster("push", "web", "--docker-image", image, "-i", "6", "-m", "32M", "-k", "32M");
    router = await Router.follow(platform.home);
  });

  afterAll(async () => {
    try {
      await router?.[Symbol.asyncDispose]();
      // Undefined when it never came up.
      await platform?.[Symbol.asyncDispose]();
    } finally {
      await registry.stop();
    }
    if (platform === undefined) return;
    expect((await Promise.all(cells.map((cell) => leftovers(platform.home, cell)))).flat()).toEqual([]);
  });

  it("emptied: every instance is replaced before it is stopped, and no request fails but one that it was answering", async () => {
    const emptied = await emptyCell(platform, router, "cell-1", options);
    expect(emptied).toMatchObject({ instances: 2, stopped_too_early: [], fewest_routable: 6 });
    const { failed, failed_on_that_cell: onThatCell } = emptied.requests;
    // A connection that was open when its instance was stopped.
    expect(failed).toEqual(onThatCell === 0 ? {} : { cut: onThatCell });
    expect(router.backends.map(({ cellId }) => cellId).filter((cell) => cell === "cell-1")).toEqual([]);
    await platform.muster("evacuate", "cell-1", "--cancel");
    await platform.eventually(
      "the cell takes work again",
      async () => (await platform.json<{ state: string }>("cell", "cell-1")).state === "healthy",
      20_000,
    );
  });

  it("pulled: its instances run elsewhere soon after its presence is over, and the others are left alone", async () => {
    const others = router.backends.filter(({ cellId }) => cellId !== "cell-2").map(({ instanceGuid }) => instanceGuid);
    const pulled = await pullCell(platform, router, "cell-2", options);
    expect(pulled.instances).toBe(3);
    // Nothing is replaced while the cell may only be slow to speak; then at once, but for what starting takes on a busy machine.
    expect(pulled.replaced_ms.p50).toBeGreaterThan(presenceTtlMs / 2);
    expect(pulled.replaced_ms.max).toBeLessThan(presenceTtlMs + 10_000);
    const { failed } = pulled.requests;
    expect(Object.keys(failed).filter((outcome) => outcome !== "cut" && outcome !== "refused")).toEqual([]);
    const now = new Set(router.backends.map(({ instanceGuid }) => instanceGuid));
    expect(others.filter((guid) => !now.has(guid))).toEqual([]);
    await platform.eventually(
      "the cell is back, and empty",
      async () => {
        const { state, instances } = await platform.json<{ state: string; instances: number }>("cell", "cell-2");
        return state === "healthy" && instances === 0;
      },
      30_000,
    );
  });
});
