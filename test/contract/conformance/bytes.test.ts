// Diego's bytes, in and out, against fixtures written by hand from the wire reference: what our own encoder and decoder agree on between
// themselves proves nothing.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { memoryHome, tlsOf } from "../../support/bbs.js";
import { type HttpReply, httpClient } from "../../support/diego-client.js";
import { routeNamed } from "../../support/diego-routes.js";
import { field, fieldsOf, fromCommentedHex, type WireField } from "../../support/wire-bytes.js";
import { commonNameOf, type Role, World } from "./world.js";

const golden = (name: string): Buffer =>
  fromCommentedHex(readFileSync(fileURLToPath(new URL(`./golden/${name}.hex`, import.meta.url)), "utf8"));

let world: World;
const doors = new Map<Role, ReturnType<typeof httpClient>>();
beforeAll(async () => {
  world = await World.open(await memoryHome());
  for (const role of ["controller", "auctioneer", "cell-1", "cell-2"] as const) {
    doors.set(role, httpClient(world.bbs.httpAddress, await tlsOf(commonNameOf(role))));
  }
});
afterAll(async () => {
  for (const client of doors.values()) client[Symbol.dispose]();
  await world[Symbol.asyncDispose]();
});

const send = async (role: Role, route: string, body: Buffer): Promise<HttpReply> => {
  const { door } = doors.get(role) ?? {};
  if (door === undefined) throw new Error(`no door for ${role}`);
  return door.send("POST", routeNamed(route).path, body);
};
/** The reply's bytes as hex. */
const answer = async (role: Role, route: string, ...fields: readonly Buffer[]): Promise<string> =>
  (await send(role, route, Buffer.concat(fields))).body.toString("hex");

const bytesOf = (fields: readonly WireField[], number: number): Buffer => {
  const value = fields.find((one) => one.number === number)?.value;
  if (!Buffer.isBuffer(value)) throw new Error(`no bytes in field ${number}`);
  return value;
};

const guid = (name: string): Buffer => field(1).string(name);
/** DesiredLRP 1 guid, 2 domain, 3 rootfs, 4 instances, 7 action (3 run: 1 path, 6 user), 35 metric tags (entry: 1 key, 2 static 1). */
const small = (name: string, ...more: readonly Buffer[]): Buffer =>
  field(1).message(
    guid(name),
    field(2).string("cf"),
    field(3).string("preloaded:stack"),
    field(4).int(1),
    field(7).message(field(3).message(field(1).string("/s"), field(6).string("u"))),
    field(35).message(field(1).string("t"), field(2).message(field(1).string("v"))),
    ...more,
  );
const key = (name: string): Buffer => field(1).message(guid(name), field(3).string("cf"));
const instanceKey = (number: number, instance: string, cell = "cell-1"): Buffer =>
  field(number).message(field(1).string(instance), field(2).string(cell));
const netInfo = field(3).message(field(1).string("10.0.0.1"));

const ok = "";
const error = (type: number, message: string): string =>
  field(1).message(field(1).int(type), field(2).string(message)).toString("hex");

describe("a DesiredLRP with all its fields", () => {
  it("is read back byte for byte, routes compact and lists unpacked", async () => {
    expect(await answer("controller", "DesireDesiredLRP", golden("desire-lrp-request"))).toBe(ok);
    const { body } = await send("controller", "DesiredLRPByProcessGuid", guid("golden"));
    const [found, ...others] = fieldsOf(body);
    expect([found?.number, others]).toEqual([2, []]);
    const fields = fieldsOf(found?.value as Buffer);
    const tag = fieldsOf(bytesOf(fields, 21));
    // The epoch is Muster's own; index 0 is not written.
    expect(tag.map(({ number }) => number)).toEqual([1]);
    expect(bytesOf(tag, 1).toString()).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    const without = Buffer.concat(fields.filter(({ number }) => number !== 21).map(rewritten));
    expect(without.toString("hex")).toBe(golden("desired-lrp-read").toString("hex"));
  });

  it("is the same when listed, and a task's definition likewise", async () => {
    const list = fieldsOf((await send("controller", "DesiredLRPs", field(2).string("golden"))).body);
    const single = fieldsOf((await send("controller", "DesiredLRPByProcessGuid", guid("golden"))).body);
    expect(list).toEqual(single);
    expect(await answer("controller", "DesireTask", golden("desire-task-request"))).toBe(ok);
    const task = fieldsOf(bytesOf(fieldsOf((await send("controller", "TaskByGuid", guid("golden-task"))).body), 2));
    // 1 definition, 2 guid, 3 domain, 4 created, 5 updated, 7 state; no cell, result, failure or rejection is written.
    expect(task.map(({ number }) => number)).toEqual([1, 2, 3, 4, 5, 7]);
    expect(task.at(-1)?.value).toBe(1n);
    const asked = fieldsOf(golden("desire-task-request"));
    expect(bytesOf(task, 1).toString("hex")).toBe(bytesOf(asked, 1).toString("hex"));
  });
});

const rewritten = ({ number, value }: WireField): Buffer =>
  Buffer.isBuffer(value) ? field(number).bytes(value) : field(number).int(value);

describe("an ActualLRP", () => {
  const rowOf = async (name: string): Promise<WireField[]> =>
    fieldsOf(bytesOf(fieldsOf((await send("controller", "ActualLRPs", field(3).string(name))).body), 2));

  it("that waits has its keys, net info and tag all the same, and says that it is not routable", async () => {
    expect(await answer("controller", "DesireDesiredLRP", small("waiting"))).toBe(ok);
    const row = await rowOf("waiting");
    // 1 key, 2 instance key, 3 net info, 6 state, 8 since, 9 tag, 13 routable
    expect(row.map(({ number }) => number)).toEqual([1, 2, 3, 6, 8, 9, 13]);
    // Index 0 is not written.
    expect(bytesOf(row, 1).toString("hex")).toBe("0a0777616974696e67" + "1a026366");
    expect([bytesOf(row, 2), bytesOf(row, 3)]).toEqual([Buffer.alloc(0), Buffer.alloc(0)]);
    expect(bytesOf(row, 6).toString()).toBe("UNCLAIMED");
    expect(row.at(-1)?.value).toBe(0n);
  });

  it("that runs says what its start said, the false of a oneof included", async () => {
    expect(await answer("cell-1", "StartActualLRP", golden("start-actual-lrp-request"))).toBe(ok);
    const rows = fieldsOf(
      (await send("controller", "ActualLRPs", Buffer.concat([field(3).string("golden"), field(4).int(1)]))).body,
    );
    const row = fieldsOf(bytesOf(rows, 2));
    expect(row.map(({ number }) => number)).toEqual([1, 2, 3, 6, 8, 9, 11, 12, 13, 14]);
    const asked = fieldsOf(golden("start-actual-lrp-request"));
    // In the request 1 key, 2 instance key, 3 net info, 4 routes, 5 tags, 6 routable, 7 zone; in the row 1, 2, 3, 11, 12, 13, 14.
    const pairs = [
      [1, 1],
      [2, 2],
      [3, 3],
      [4, 11],
      [5, 12],
      [7, 14],
    ] as const;
    for (const [from, to] of pairs)
      expect(bytesOf(row, to).toString("hex"), `field ${to}`).toBe(bytesOf(asked, from).toString("hex"));
    expect(row.find(({ number }) => number === 13)?.value).toBe(0n);
  });

  it("started without a word about it is routable", async () => {
    expect(await answer("controller", "DesireDesiredLRP", small("routable"))).toBe(ok);
    expect(await answer("cell-1", "StartActualLRP", key("routable"), instanceKey(2, "r"), netInfo)).toBe(ok);
    expect((await rowOf("routable")).find(({ number }) => number === 13)?.value).toBe(1n);
  });
});

describe("a oneof of zero is written, and is more than no field", () => {
  it("instances = 0 scales down, none leaves the number", async () => {
    expect(await answer("controller", "DesireDesiredLRP", small("zero"))).toBe(ok);
    // UpdateDesiredLRPRequest: 1 guid, 2 update (1 instances, 3 annotation)
    expect(await answer("controller", "UpdateDesiredLRP", guid("zero"), field(2).message(field(3).string("n")))).toBe(ok);
    const instances = async (): Promise<unknown> => {
      const lrp = fieldsOf(bytesOf(fieldsOf((await send("controller", "DesiredLRPByProcessGuid", guid("zero"))).body), 2));
      return lrp.find(({ number }) => number === 4)?.value;
    };
    expect(await instances()).toBe(1n);
    expect(await answer("controller", "UpdateDesiredLRP", guid("zero"), field(2).message(field(1).int(0)))).toBe(ok);
    expect(await instances()).toBeUndefined();
  });

  it("index = 0 filters, no index does not", async () => {
    expect(await answer("controller", "DesireDesiredLRP", small("indexed", field(4).int(3)))).toBe(ok);
    const count = async (...filter: readonly Buffer[]): Promise<number> =>
      fieldsOf((await send("controller", "ActualLRPs", Buffer.concat([field(3).string("indexed"), ...filter]))).body).length;
    expect([await count(), await count(field(4).int(0)), await count(field(4).int(2))]).toEqual([3, 1, 1]);
  });
});

describe("a reader takes", () => {
  it("packed lists, fields in any order, the last of a field that comes twice, and what it does not know", async () => {
    const foreign = Buffer.concat([
      field(5000).string("unknown"),
      field(1).message(
        field(35).message(field(2).message(field(1).string("v")), field(1).string("t")),
        field(100_000).int(-1),
        field(14).packed(8080, 9090),
        field(20).message(field(3).packed(80, 443), field(2).string("10.0.0.1"), field(1).string("tcp"), field(77).string("?")),
        field(7).message(field(3).message(field(6).string("u"), field(1).string("/s"))),
        field(4).int(5),
        field(4).int(0),
        field(3).string("preloaded:stack"),
        field(2).string("cf"),
        guid("foreign"),
      ),
    ]);
    expect(await answer("controller", "DesireDesiredLRP", foreign)).toBe(ok);
    const lrp = fieldsOf(bytesOf(fieldsOf((await send("controller", "DesiredLRPByProcessGuid", guid("foreign"))).body), 2));
    // Written back in order, unpacked, without the unknown and without instances: the last word was 0. 15 routes is always there.
    expect(lrp.map(({ number }) => number)).toEqual([1, 2, 3, 7, 14, 14, 15, 20, 21, 35]);
    expect(lrp.filter(({ number }) => number === 14).map(({ value }) => value)).toEqual([8080n, 9090n]);
    expect(bytesOf(lrp, 15)).toEqual(Buffer.alloc(0));
    expect(fieldsOf(bytesOf(lrp, 20)).map(({ number }) => number)).toEqual([1, 2, 3, 3]);
  });

  it("no body for an empty message, and any body where it needs none", async () => {
    expect(fieldsOf((await send("controller", "ActualLRPs", Buffer.alloc(0))).body).length).toBeGreaterThan(0);
    expect(await answer("controller", "Ping", Buffer.from("ff", "hex"))).toBe("0801");
    expect(await answer("controller", "Cells", Buffer.from("ff", "hex"))).toBe("");
    expect(await answer("controller", "UpsertDomain", field(1).string("d"))).toBe(ok);
    expect(await answer("controller", "Domains", Buffer.from("ff", "hex"))).toBe("120164");
  });
});

describe("routes come back in Go's compact form", () => {
  it.each([
    [' { "b" : 1 , "a" : [ ] } ', '{"b":1,"a":[]}'],
    ['"<&>"', '"\\u003c\\u0026\\u003e"'],
    ['"\u2028 \u2029 ü"', '"\\u2028 \\u2029 ü"'],
    ["[1.0e5, 1E400, -0, 12345678901234567890]", "[1.0e5,1E400,-0,12345678901234567890]"],
    ['{"a":1,"a":2}', '{"a":1,"a":2}'],
    ['"\\u003C \\/ \\" , x"', '"\\u003C \\/ \\" , x"'],
    ["null", "null"],
  ])("%s", async (given, back) => {
    const name = `route-${Buffer.from(given).toString("hex").slice(0, 60)}`;
    const routes = field(15).message(field(1).message(field(1).string("r"), field(2).string(given)));
    expect(await answer("controller", "DesireDesiredLRP", small(name, routes))).toBe(ok);
    const lrp = fieldsOf(bytesOf(fieldsOf((await send("controller", "DesiredLRPByProcessGuid", guid(name))).body), 2));
    const entry = fieldsOf(bytesOf(fieldsOf(bytesOf(lrp, 15)), 1));
    expect(bytesOf(entry, 2).toString("utf8")).toBe(back);
  });
});

describe("an error reply is field 1, its type and its message, with status 200", () => {
  it("to the last byte", async () => {
    expect(await answer("controller", "DesiredLRPByProcessGuid", guid("nobody"))).toBe(
      // 1 error: 45 bytes; 1 type: 13; 2 message: 41 bytes
      `0a2d080d1229${Buffer.from("the requested resource could not be found").toString("hex")}`,
    );
  });

  it("of every type that a call of Diego's ends with", async () => {
    const name = "errors";
    const desire = small(name);
    const task = (type: string, ...more: readonly Buffer[]): Promise<string> =>
      answer("controller", type, guid("error-task"), ...more);
    expect(await answer("controller", "DesireDesiredLRP", desire)).toBe(ok);
    const said: [string, string][] = [
      [await answer("controller", "UpsertDomain"), error(4, "Invalid field: domain")],
      [await answer("controller", "UpsertDomain", Buffer.from("0aff", "hex")), error(4, "the request received is invalid")],
      [await answer("controller", "DesireDesiredLRP", desire), error(12, "the requested resource already exists")],
      [await answer("controller", "RetireActualLRP", key("nobody")), error(13, "the requested resource could not be found")],
    ];
    expect(await answer("cell-1", "StartActualLRP", key(name), instanceKey(2, "a"), netInfo)).toBe(ok);
    const other = [key(name), instanceKey(2, "b", "cell-2")];
    said.push(
      [await answer("cell-2", "ClaimActualLRP", guid(name), instanceKey(3, "b", "cell-2")), error(15, "cannot claim actual LRP")],
      [await answer("cell-2", "StartActualLRP", ...other, netInfo), error(16, "cannot start actual LRP")],
      [await answer("cell-2", "CrashActualLRP", ...other), error(17, "cannot crash actual LRP")],
      [await answer("auctioneer", "FailActualLRP", key(name), field(2).string("x")), error(18, "cannot fail actual LRP")],
    );
    const definition = field(1).message(
      field(1).string("preloaded:stack"),
      field(3).message(field(3).message(field(1).string("/t"), field(6).string("u"))),
    );
    expect(await answer("controller", "DesireTask", definition, field(2).string("error-task"), field(3).string("cf"))).toBe(ok);
    said.push([await task("DeleteTask"), error(9, "Cannot transition from Pending to Resolving")]);
    expect(await answer("cell-1", "StartTask", guid("error-task"), field(2).string("cell-1"))).toBe("1001");
    said.push([
      await answer("cell-2", "CompleteTask", guid("error-task"), field(2).string("cell-2")),
      error(24, "Running on cell cell-1 not cell-2"),
    ]);
    for (const [got, expected] of said) expect(got).toBe(expected);
  });

  it("an evacuation's beside the word about the container", async () => {
    const missing = [key("nobody"), instanceKey(2, "a")];
    const notFound = error(13, "the requested resource could not be found");
    expect(await answer("cell-1", "EvacuateClaimedActualLRP", ...missing)).toBe(notFound);
    // 2 keep_container: true
    expect(await answer("cell-1", "EvacuateClaimedActualLRP", instanceKey(2, "a"))).toBe(
      `${error(4, "Invalid field: actual_lrp_key")}1001`,
    );
    expect(await answer("cell-1", "EvacuateStoppedActualLRP", instanceKey(2, "a"))).toBe(
      error(4, "Invalid field: actual_lrp_key"),
    );
  });
});
