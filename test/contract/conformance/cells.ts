// The cells that live, as a rep has them listed (bbs-semantics.md section 8).
import { expect } from "vitest";
import { clientsOf } from "../../support/bbs.js";
import { encode } from "../../support/diego-codec.js";
import { field, fieldsOf } from "../../support/wire-bytes.js";
import { eventually, Rep } from "../bbs/fixtures.js";
import { Stage } from "./stage.js";
import type { Transport, World } from "./world.js";

/** Presences are Muster's own business; what Diego's Cells call says of them is not. */
export async function cellsAreListed(world: World, transport: Transport): Promise<void> {
  const cellId = `cell-listed-${transport}`;
  using clients = await clientsOf([world.bbs.address], `cell:${cellId}`);
  using rep = new Rep(clients, cellId);
  const presence = {
    cellId,
    repAddress: "127.0.0.1:1801",
    zone: "z1",
    capacity: { memoryMb: 1_024, diskMb: 2_048, containers: 10 },
    rootfsProviders: [
      { name: "preloaded", properties: ["stack"] },
      { name: "docker", properties: [] },
    ],
    placementTags: ["ssd"],
    optionalPlacementTags: ["gpu"],
    repUrl: "https://127.0.0.1:1801",
    annotations: { rack: "7" },
  };
  rep.send({ $case: "hello", value: { presence, owner: "owner-1", ttlMs: 30_000, evacuating: false } });
  await rep.next("welcome");
  rep.send({ $case: "inventory", value: { containers: [], last: true } });
  await rep.next("inventoryDecided");
  const stage = new Stage(world, transport);
  const listed = async () => (await stage.ok("controller", "Cells", {})).cells ?? [];
  const found = (await listed()).find((cell: { cell_id: string }) => cell.cell_id === cellId);
  expect(encode("CellPresence", found)).toEqual(
    Buffer.concat([
      field(1).string(cellId),
      field(2).string("127.0.0.1:1801"),
      field(3).string("z1"),
      field(4).message(field(1).int(1_024), field(2).int(2_048), field(3).int(10)),
      field(5).message(field(1).string("preloaded"), field(2).string("stack")),
      field(5).message(field(1).string("docker")),
      field(6).string("ssd"),
      field(7).string("gpu"),
      field(8).string("https://127.0.0.1:1801"),
      field(9).entry("rack", "7"),
    ]),
  );
  expect(fieldsOf(encode("CellPresence", found)).map(({ number }) => number)).toEqual([1, 2, 3, 4, 5, 5, 6, 7, 8, 9]);
  rep.send({ $case: "goodbye", value: {} });
  await rep.ended;
  // A lost cell is remembered, and listed no more.
  await eventually("the cell is gone", async () =>
    (await listed()).some((cell: { cell_id: string }) => cell.cell_id === cellId) ? undefined : true,
  );
}
