// Certificates of containers: there before the first process, renewed in time, taken up by the next rep.
import type { Container, InstanceIdentity } from "@muster/garden";
import { fakeClock, seededEntropy } from "@muster/shared/clock";
import { silentLog } from "@muster/shared/log";
import type { InstanceSubject } from "@muster/shared/tls";
import { describe, expect, it } from "vitest";
import { containerRecord } from "../testing/records.js";
import { desiredLRP, openWorld, row, task, taskDefinition, taskWork, type World, work } from "../testing/world.js";
import { Identities } from "./identities.js";

const dayMs = 86_400_000;

interface Issued {
  readonly subject: InstanceSubject;
  readonly atMs: number;
}

/** A world whose authority writes down what it was asked for, and its garden what containers were given and when. */
async function identified(validityMs = dayMs) {
  const issued: Issued[] = [];
  const fault = { text: "" };
  const authority = {
    issue: async (subject: InstanceSubject, nowMs: number) => {
      issued.push({ subject, atMs: nowMs });
      if (fault.text !== "") throw new Error(fault.text);
      return { certificate: `certificate ${issued.length}`, key: `key ${issued.length}` };
    },
  };
  const world = await openWorld({}, { trustedCertificatesDir: "/trusted" }, undefined, {}, undefined, { authority, validityMs });
  const done: string[] = [];
  const create = world.garden.create.bind(world.garden);
  world.garden.create = async (spec, signal) => {
    const container = await create(spec, signal);
    const run = container.run.bind(container);
    done.push(...spec.env.filter((line) => /CERT|KEY/.test(line)), `has one: ${spec.hasIdentity}`);
    done.push(...(spec.folders ?? []).map(({ folder, containerDir }) => `${folder} at ${containerDir}`));
    container.writeIdentity = async ({ certificate, key }: InstanceIdentity) => void done.push(`${certificate}, ${key}`);
    container.run = (process, output) => {
      done.push(`run ${process.id}`);
      return run(process, output);
    };
    return container;
  };
  return { world, issued, done, fault };
}

const properties = { organizationalUnit: ["organization:o", "space:s", "app:a"] };
const lines = (world: World): string[] =>
  world.rep.logs.recent({ processGuid: "p", instanceGuid: "" }).map((line) => Buffer.from(line.line).toString());

it("a container has its certificate before its first process, and is told where it lies", async () => {
  const { world, issued, done } = await identified();
  const environmentVariables = [{ name: "CF_INSTANCE_KEY", value: "its own" }];
  const guid = await world.placed("p", {
    environmentVariables,
    certificateProperties: properties,
    trustedSystemCertificatesPath: "/etc/cf-system-certificates",
  });
  expect(done).toEqual([
    "CF_INSTANCE_KEY=/etc/cf-instance-credentials/instance.key",
    "CF_SYSTEM_CERT_PATH=/etc/cf-system-certificates",
    "CF_INSTANCE_CERT=/etc/cf-instance-credentials/instance.crt",
    "has one: true",
    "/trusted at /etc/cf-system-certificates",
    "certificate 1, key 1",
    "run app",
  ]);
  expect(issued.map(({ subject }) => subject)).toEqual([
    {
      guid,
      organizationalUnits: properties.organizationalUnit,
      ipAddress: world.garden.lookup(guid)?.info().containerIp,
      serial: expect.stringMatching(/^[0-9a-f]{8}-[0-9a-f-]{27}$/),
    },
  ]);
  await world.stop();
});

it("a task's certificate names the task", async () => {
  const { world, issued } = await identified();
  world.bbs.definitions.set("job", taskDefinition({ certificateProperties: properties }));
  world.bbs.putTask(task("job"));
  world.rep.perform({ cellId: "cell-1", lrps: [], tasks: [taskWork("job")] });
  await world.clock.advance(1_000);
  expect(issued[0]?.subject).toMatchObject({ guid: "job", organizationalUnits: properties.organizationalUnit });
  await world.stop();
});

it("it is renewed as long as the container runs", async () => {
  const { world, issued } = await identified(60_000);
  const guid = await world.placed("p");
  await world.clock.advance(105_000);
  const [first = 0, ...later] = issued.map(({ atMs }) => atMs);
  expect(later.map((atMs) => atMs - first)).toEqual([52_500, 105_000]);
  expect(new Set(issued.map(({ subject }) => subject.serial)).size).toBe(3);
  world.rep.stopInstance("p", guid);
  await world.clock.advance(60_000);
  expect(issued).toHaveLength(3);
  await world.stop();
});

it("a container that cannot be given one does not run, and says why", async () => {
  const { world, fault, done } = await identified();
  fault.text = "no entropy";
  world.bbs.desired.set("p", desiredLRP("p"));
  world.bbs.put(row("p"));
  world.rep.perform({ cellId: "cell-1", lrps: [work("p")], tasks: [] });
  await world.clock.advance(100);
  expect([...world.bbs.rows.values()][0]).toMatchObject({ crashCount: 1, crashReason: "failed to create credentials directory" });
  expect(done.filter((line) => line.startsWith("run"))).toEqual([]);
  expect(lines(world).join("\n")).toContain("failed to create credentials directory");
  await world.stop();
});

it("the next rep gives adopted containers new ones at once, and goes on renewing", async () => {
  const { world, issued } = await identified(60_000);
  await world.placed("p", { certificateProperties: properties });
  await world.stop();
  await world.clock.advance(60_000);
  expect(issued).toHaveLength(1);
  world.restart();
  await world.clock.advance(1_000);
  expect(issued).toHaveLength(2);
  expect(issued[1]?.subject).toMatchObject({ ...issued[0]?.subject, serial: expect.any(String) });
  await world.clock.advance(60_000);
  expect(issued).toHaveLength(3);
  await world.stop();
});

it("without an authority there is nothing of it", async () => {
  const world = await openWorld();
  const create = world.garden.create.bind(world.garden);
  const specs: unknown[] = [];
  world.garden.create = (spec, signal) => {
    specs.push([spec.hasIdentity, spec.folders, spec.env.filter((line) => /CERT|KEY/.test(line))]);
    return create(spec, signal);
  };
  await world.placed("p", { trustedSystemCertificatesPath: "/etc/cf-system-certificates", certificateProperties: properties });
  expect(specs).toEqual([[false, [], []]]);
  await world.stop();
});

describe("renewal", () => {
  /** A container that is written to, and a keeper of what it has. */
  function kept(validityMs: number) {
    const clock = fakeClock();
    const stop = new AbortController();
    const written: number[] = [];
    const fault = { text: "" };
    const container = {
      info: () => ({ containerIp: "10.0.0.2", hostIp: "127.0.0.1" }),
      writeIdentity: async () => {
        written.push(clock.elapsedMs());
        if (fault.text !== "") throw new Error(fault.text);
      },
    } as unknown as Container;
    const authority = { issue: async () => ({ certificate: "", key: "" }) };
    const identities = new Identities({ clock, entropy: seededEntropy("1"), log: silentLog() }, { authority, validityMs });
    const keep = async (): Promise<void> => {
      const record = containerRecord("i");
      await identities.keep(record, container, await identities.give(record, container), stop.signal);
    };
    return { clock, stop, written, fault, kept: keep() };
  }

  it.each([
    { validityMs: dayMs, renewedMs: dayMs - 1_800_000 },
    { validityMs: 14_400_001, renewedMs: 12_600_001 },
    { validityMs: 14_400_000, renewedMs: 12_600_000 },
    { validityMs: 80_000, renewedMs: 70_000 },
  ])("of one that is valid for $validityMs ms comes after $renewedMs ms, until it is told to stop", async (one) => {
    const { clock, stop, written, kept: ended } = kept(one.validityMs);
    await clock.advance(one.renewedMs * 2);
    expect(written).toEqual([0, one.renewedMs, one.renewedMs * 2]);
    stop.abort();
    await ended;
    expect(clock.nextTimerMs()).toBeUndefined();
  });

  it("comes within ten minutes when the wall clock was set forward", async () => {
    const { clock, stop, written } = kept(dayMs);
    await clock.advance(1_000);
    clock.jumpWall(dayMs);
    await clock.advance(600_000);
    expect(written).toEqual([0, 600_000]);
    stop.abort();
  });

  it("that fails is tried again after a minute", async () => {
    const { clock, stop, written, fault } = kept(80_000);
    await clock.advance(1_000);
    fault.text = "no space";
    await clock.advance(69_000);
    fault.text = "";
    await clock.advance(130_000);
    expect(written).toEqual([0, 70_000, 130_000, 200_000]);
    stop.abort();
  });
});
