// Keys: rotated while serving, killed in the middle, refused when missing or wrong; and no secret is ever told where it should not be.
import { createSealer, type SealerOptions } from "@muster/bbs";
import { RunInfo } from "@muster/proto/muster/store/v1/records";
import { OperatorError } from "@muster/shared/errors";
import { serverStream, unary } from "@muster/shared/rpc";
import { describe, expect, it } from "vitest";
import {
  type BbsClients,
  clientsOf,
  etcdHome,
  lmdbHome,
  memoryHome,
  type StoreHome,
  sealingKeys,
  spawnBbs,
  startBbs,
  tlsOf,
} from "../../support/bbs.js";
import { HttpDoor } from "../../support/diego-client.js";
import { EventStream } from "../../support/diego-events.js";
import { startEtcd } from "../../support/etcd.js";
import { freePort } from "../../support/ports.js";
import { desire, eventually, refusal, updateOf } from "../bbs/fixtures.js";
import { follow } from "../bbs/watch.js";
import { contentsOf, desireMany, desireTask, fillFast, secretive, secretOf, tokenOf, withCommit } from "./records.js";

const [first] = sealingKeys.keys;
const second = { label: "k2", passphrase: "the passphrase that came after" };
/** The operator has added a key and made it the active one. */
const rotated: SealerOptions = { keys: [...(first === undefined ? [] : [first]), second], activeLabel: "k2" };
const secondOnly: SealerOptions = { keys: [second], activeLabel: "k2" };

/** How many records each key has sealed: run information and task definitions, which lie alike. */
async function labelsIn(home: StoreHome): Promise<Record<string, number>> {
  const { labelOf } = createSealer(rotated);
  const { records } = await contentsOf(home);
  const counts: Record<string, number> = {};
  for (const [key, hex] of records) {
    if (!key.startsWith("runinfo/") && !key.startsWith("taskdef/")) continue;
    const label = labelOf(RunInfo.decode(Buffer.from(hex, "hex")).sealed);
    counts[label] = (counts[label] ?? 0) + 1;
  }
  return counts;
}

async function filled(home: StoreHome, count: number): Promise<string[]> {
  await using bbs = await startBbs(home);
  using operator = await clientsOf([bbs.address], "operator");
  return await desireMany(operator, "p", count);
}

/** Starts with the new key, does something meanwhile, and waits until everything is sealed under it. */
async function rotateWholly(home: StoreHome, meanwhile: (operator: BbsClients) => Promise<unknown> = async () => undefined) {
  let sealed: () => void = () => undefined;
  const done = new Promise<void>((resolve) => {
    sealed = resolve;
  });
  const lifecycle = { migrating: () => undefined, migrated: () => undefined, sealedAnew: () => sealed() };
  await using bbs = await startBbs(home, { keys: rotated, lifecycle });
  using operator = await clientsOf([bbs.address], "operator");
  await meanwhile(operator);
  await done;
}

describe("rotating the key", () => {
  it("seals everything anew while serving; then the old key may go", async () => {
    await using etcd = await startEtcd();
    for (const open of [lmdbHome, () => etcdHome(etcd)]) {
      await using home = await open();
      const guids = await filled(home, 300);
      {
        await using bbs = await startBbs(home);
        using operator = await clientsOf([bbs.address], "operator");
        await desireTask(operator, "once");
      }
      expect(await labelsIn(home)).toEqual({ k1: 301 });
      await rotateWholly(home);
      expect(await labelsIn(home)).toEqual({ k2: 301 });
      await using bbs = await startBbs(home, { keys: secondOnly });
      using operator = await clientsOf([bbs.address], "operator");
      for (const guid of guids.slice(0, 20)) expect(await tokenOf(operator, guid)).toBe(secretOf(guid));
      const { task } = await unary(operator.bbs.taskByGuid.bind(operator.bbs), { taskGuid: "once" });
      expect(task?.taskDefinition?.environmentVariables[0]?.value).toBe(secretOf("once"));
    }
  });

  it("takes nothing back that is updated, removed or desired meanwhile", async () => {
    await using home = await memoryHome();
    const guids = await filled(home, 800);
    // Slow enough that both go on side by side.
    const slow = withCommit(home, async (commit) => {
      await new Promise((resolve) => setTimeout(resolve, 50));
      return commit();
    });
    await rotateWholly(slow, (operator) =>
      Promise.all(
        guids.map(async (processGuid, number) => {
          if (number % 4 === 0) await unary(operator.bbs.removeDesiredLrp.bind(operator.bbs), { processGuid });
          if (number % 4 === 1) {
            const update = updateOf({
              optionalImageUsername: { $case: "imageUsername", value: "other" },
              optionalImagePassword: { $case: "imagePassword", value: `changed-${processGuid}` },
            });
            await unary(operator.bbs.updateDesiredLrp.bind(operator.bbs), { processGuid, update });
          }
          if (number % 4 === 2) await desire(operator, secretive(`late-${processGuid}`));
        }),
      ),
    );
    expect(await labelsIn(home)).toEqual({ k2: 800 });
    await using bbs = await startBbs(home, { keys: secondOnly });
    using operator = await clientsOf([bbs.address], "operator");
    for (const [number, processGuid] of guids.entries()) {
      const asked = unary(operator.bbs.desiredLrpByProcessGuid.bind(operator.bbs), { processGuid });
      if (number % 4 === 0) {
        expect((await refusal(asked)).type).toBe("ResourceNotFound");
        continue;
      }
      const { desiredLrp } = await asked;
      expect(desiredLrp?.environmentVariables[0]?.value).toBe(secretOf(processGuid));
      expect(desiredLrp?.imagePassword).toBe(number % 4 === 1 ? `changed-${processGuid}` : `password-${secretOf(processGuid)}`);
      if (number % 4 === 2) expect(await tokenOf(operator, `late-${processGuid}`)).toBe(secretOf(`late-${processGuid}`));
    }
  });

  it("killed with -9 in the middle it goes on at the next start", async () => {
    await using home = await lmdbHome();
    const count = 8_000;
    {
      await using bbs = await startBbs(home);
      await fillFast(bbs, "p", count);
    }
    {
      await using bbs = await spawnBbs(home, { keys: rotated });
      // Some commands into it: nothing is asked for, so what is committed is sealed anew.
      await eventually("some are sealed anew", async () =>
        (await bbs.metric("bbs_journal_batch_writes_sum").catch(() => 0)) >= 100 ? true : undefined,
      );
      bbs.kill("SIGKILL");
      await bbs.exited;
    }
    const halfway = await labelsIn(home);
    expect(halfway.k1).toBeGreaterThan(0);
    expect(halfway.k2).toBeGreaterThan(0);
    {
      await using bbs = await spawnBbs(home, { keys: rotated });
      await bbs.until("active");
      await eventually("the rest is sealed anew", async () =>
        (await bbs.metric("bbs_encryption_duration_seconds")) > 0 ? true : undefined,
      );
      expect(bbs.log()).toContain("older keys may be dropped");
    }
    expect(await labelsIn(home)).toEqual({ k2: count });
    await using bbs = await startBbs(home, { keys: secondOnly });
    using operator = await clientsOf([bbs.address], "operator");
    expect(await tokenOf(operator, "p-7999")).toBe(secretOf("p-7999"));
  });
});

describe("a start without the keys", () => {
  it("is refused, naming the label, and changes nothing", async () => {
    await using home = await lmdbHome();
    await filled(home, 3);
    const before = await contentsOf(home);
    const refused = await startBbs(home, { keys: secondOnly }).catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(OperatorError);
    expect(String(refused)).toContain('3 stored records are sealed under the encryption key "k1", which is not among the keys');
    expect(await contentsOf(home)).toEqual(before);
    await using bbs = await spawnBbs(home, { keys: secondOnly });
    expect(await bbs.exited).toBe(78);
    expect(bbs.log()).toContain('\\"k1\\"');
  });

  it("is refused when the label is there with another passphrase", async () => {
    await using home = await memoryHome();
    await filled(home, 3);
    const other = { keys: [{ label: "k1", passphrase: "not what it was at all" }], activeLabel: "k1" };
    await expect(startBbs(home, { keys: other })).rejects.toThrow('the encryption key "k1" does not open what was sealed');
  });
});

it("secrets are in no log, error, watch, event, list of scheduling infos, health or metric, nor in the store in clear", async () => {
  await using home = await lmdbHome();
  const planted = secretOf("app");
  const heard: string[] = [];
  const httpAddress = `127.0.0.1:${await freePort()}`;
  await using bbs = await spawnBbs(home, { settings: { log_level: "debug", http_address: httpAddress } });
  await bbs.until("active");
  using door = new HttpDoor(httpAddress, await tlsOf("operator"));
  const events = await Promise.all(
    ["/v1/events/lrp_instances.r1", "/v1/events/tasks.r1"].map(
      async (path) => new EventStream(await door.open("POST", path, Buffer.alloc(0))),
    ),
  );
  using operator = await clientsOf([bbs.address], "operator");
  const hear = (what: unknown): void => {
    heard.push(JSON.stringify(what, (_key, value: unknown) => (typeof value === "bigint" ? String(value) : value)));
    // Bytes show as numbers in JSON: look into them as text too.
    heard.push(...textsIn(what));
  };
  let told: Promise<unknown> | undefined;
  const said = await follow(operator, {}, (message) => {
    if (message.$case === "synced") told = desire(operator, secretive("app"));
    return message.$case === "commit";
  });
  await told;
  hear(said);
  await desireTask(operator, "job");
  hear(await refusal(desireTask(operator, "job")));
  for (const stream of events) {
    await stream.until("what was desired", ({ name }) => /^(desired_lrp|task)_created$/.test(name));
    for (const event of stream.events) hear(event);
    stream[Symbol.dispose]();
  }
  // Refused for what it is and for what it holds: the refusal repeats none of it.
  hear(await refusal(desire(operator, secretive("app"))));
  hear(await refusal(desire(operator, { ...secretive("bad guid"), imageUsername: "" })));
  hear(
    await refusal(
      desire(operator, {
        ...secretive("nameless"),
        environmentVariables: [{ name: "", value: planted }],
        rootFs: `${planted} x`,
      }),
    ),
  );
  const everything = { domain: "", processGuids: [], appGuids: [] };
  for await (const chunk of serverStream(operator.bbs.desiredLrpSchedulingInfos.bind(operator.bbs), everything)) hear(chunk);
  for await (const chunk of serverStream(operator.bbs.desiredLrpRoutingInfos.bind(operator.bbs), everything)) hear(chunk);
  hear(await follow(operator, {}, (message) => message.$case === "synced"));
  heard.push(bbs.log(), await bbs.metrics());
  expect(await tokenOf(operator, "app")).toBe(planted);
  bbs.kill("SIGTERM");
  expect(await bbs.exited).toBe(0);
  heard.push(bbs.log());
  const { records } = await contentsOf(home);
  for (const hex of records.values()) heard.push(Buffer.from(hex, "hex").toString("latin1"));
  expect(heard.join("\n").length).toBeGreaterThan(1_000);
  for (const secret of [planted, secretOf("job"), sealingKeys.keys[0]?.passphrase ?? ""]) {
    expect(heard.filter((text) => text.includes(secret)).map((text) => text.slice(0, 200))).toEqual([]);
  }
});

/** Every byte string in a message, read as text. */
function textsIn(value: unknown): string[] {
  if (value instanceof Uint8Array) return [Buffer.from(value).toString("latin1")];
  if (value === null || typeof value !== "object") return [];
  return Object.values(value).flatMap(textsIn);
}
