// Diego's calls about DesiredLRPs and their lists, as a controller has them.
import type { DesiredLRP } from "@muster/proto/models/desired_lrp";
import { type DesiredLRPsRequest, DesiredLRPsResponse } from "@muster/proto/models/desired_lrp_requests";
import { collect, serverStream, unary } from "@muster/shared/rpc";
import { describe, expect, it } from "vitest";
import {
  claim,
  desire,
  desired,
  fresh,
  instance,
  outcome,
  refusal,
  rowsOf,
  type Subject,
  statesOf,
  updateOf,
} from "./fixtures.js";

const noFilter: DesiredLRPsRequest = { domain: "", processGuids: [], appGuids: [] };

export function describeCalls(subject: () => Subject): void {
  const controller = () => subject().as.controller;
  const { bbs } = { bbs: () => controller().bbs };
  const update = (processGuid: string, fields: Parameters<typeof updateOf>[0]): Promise<unknown> =>
    unary(bbs().updateDesiredLrp.bind(bbs()), { processGuid, update: updateOf(fields) });
  const remove = (processGuid: string): Promise<unknown> => unary(bbs().removeDesiredLrp.bind(bbs()), { processGuid });
  const get = async (processGuid: string): Promise<DesiredLRP | undefined> =>
    (await unary(bbs().desiredLrpByProcessGuid.bind(bbs()), { processGuid })).desiredLrp;

  describe("a refusal names Diego's error type in the trailer", () => {
    it("every fault of a request at once", async () => {
      const faulty = desired("no good", { domain: "", instances: -1, memoryMb: -1 });
      expect(await refusal(desire(controller(), faulty))).toEqual({
        type: "InvalidRequest",
        status: "INVALID_ARGUMENT",
        message: expect.stringMatching(/domain.*process_guid.*memory_mb.*instances/),
      });
    });

    it("a request without its message", async () => {
      const empty = unary(bbs().desireDesiredLrp.bind(bbs()), { desiredLrp: undefined });
      expect(await refusal(empty)).toMatchObject({ type: "InvalidRequest", message: "Invalid field: desired_lrp" });
    });

    it.each([
      ["get", (guid: string) => get(guid)],
      ["update", (guid: string) => update(guid, { optionalInstances: { $case: "instances", value: 2 } })],
      ["remove", (guid: string) => remove(guid)],
    ])("%s of an LRP that is not there", async (_name, call) => {
      expect(await refusal(call(fresh("absent")))).toMatchObject({ type: "ResourceNotFound", status: "NOT_FOUND" });
    });

    it("desired twice", async () => {
      const processGuid = fresh("twice");
      await desire(controller(), desired(processGuid));
      expect(await refusal(desire(controller(), desired(processGuid)))).toMatchObject({
        type: "ResourceExists",
        status: "ALREADY_EXISTS",
      });
    });
  });

  describe("a DesiredLRP", () => {
    it("is given back as it was desired, secrets included", async () => {
      const processGuid = fresh("whole");
      const asked = desired(processGuid, {
        instances: 2,
        annotation: "note",
        environmentVariables: [{ name: "TOKEN", value: "s3cret" }],
        imageUsername: "user",
        imagePassword: "password",
        placementTags: ["ssd"],
        routes: { routes: { "cf-router": Buffer.from(' [ {"port": 8080} ] ') } },
      } as never);
      await desire(controller(), asked);
      const given = await get(processGuid);
      expect(given?.modificationTag?.index).toBe(0);
      expect(given).toEqual({
        ...asked,
        modificationTag: given?.modificationTag,
        routes: { routes: { "cf-router": Buffer.from('[{"port":8080}]') } },
      });
    });

    it("asks for one row an instance, more when scaled up; scaled down it stops what runs and drops what waits", async () => {
      const processGuid = fresh("scaled");
      await desire(controller(), desired(processGuid, { instances: 2 }));
      expect(await statesOf(controller(), processGuid)).toEqual(["UNCLAIMED", "UNCLAIMED"]);
      await update(processGuid, { optionalInstances: { $case: "instances", value: 4 } });
      expect(await statesOf(controller(), processGuid)).toEqual(["UNCLAIMED", "UNCLAIMED", "UNCLAIMED", "UNCLAIMED"]);
      await claim(subject().as.cell1, processGuid, 1, instance("i-1"));
      await update(processGuid, { optionalInstances: { $case: "instances", value: 1 } });
      // Index 1 is claimed: its cell stops it. The others had no container.
      expect((await rowsOf(controller(), processGuid)).map((row) => row.actualLrpKey?.index)).toEqual([0, 1]);
      expect((await get(processGuid))?.modificationTag?.index).toBe(2);
    });

    it("that needs more records than one commit carries gets them all, and loses them all", async () => {
      const processGuid = fresh("wide");
      await desire(controller(), desired(processGuid, { instances: 350 }));
      await rowsReach(processGuid, 350);
      await remove(processGuid);
      await rowsReach(processGuid, 0);
    });

    it("with a Docker image is refused while the flag is off", async () => {
      const asked = desire(controller(), desired(fresh("docker"), { rootFs: "docker:///library/busybox" }));
      expect(await refusal(asked)).toMatchObject({
        type: "FeatureDisabled",
        status: "FAILED_PRECONDITION",
        message: "Feature Disabled: diego_docker",
      });
    });

    const rowsReach = async (processGuid: string, count: number): Promise<void> => {
      for (let tries = 0; (await rowsOf(controller(), processGuid)).length !== count; tries += 1) {
        expect(tries, `${processGuid} has ${count} rows`).toBeLessThan(500);
      }
    };
  });

  describe("lists", () => {
    it("filter by domain, guid and app, and give run information to none but the full list", async () => {
      const [app, domain] = [fresh("app"), fresh("domain")];
      const guids = [`${app}-v1`, `${app}-v2`, fresh("other")];
      for (const guid of guids) {
        await desire(controller(), desired(guid, { domain, environmentVariables: [{ name: "A", value: "secret" }] } as never));
      }
      const list = async (filter: Partial<DesiredLRPsRequest>): Promise<string[]> =>
        (
          await collect(
            serverStream(bbs().desiredLrpSchedulingInfos.bind(bbs()), { ...noFilter, ...filter }),
            (chunk) => chunk.desiredLrpSchedulingInfos,
          )
        )
          .map((info) => info.desiredLrpKey?.processGuid ?? "")
          .sort();
      expect(await list({ domain })).toEqual([...guids].sort());
      expect(await list({ domain, appGuids: [app] })).toEqual([`${app}-v1`, `${app}-v2`]);
      expect(await list({ processGuids: [guids[2] ?? ""] })).toEqual([guids[2]]);
      expect(await list({ domain: "nobody's" })).toEqual([]);
      const full = await collect(
        serverStream(bbs().desiredLrPs.bind(bbs()), { ...noFilter, domain }),
        (chunk) => chunk.desiredLrps,
      );
      expect(full.map((lrp) => lrp.environmentVariables[0]?.value)).toEqual(["secret", "secret", "secret"]);
      const routing = await collect(
        serverStream(bbs().desiredLrpRoutingInfos.bind(bbs()), { ...noFilter, domain }),
        (chunk) => chunk.desiredLrps,
      );
      expect(routing.map((lrp) => lrp.environmentVariables.length)).toEqual([0, 0, 0]);
    });

    it("of more than 10,000 rows come in chunks, whole and from one instant", async () => {
      const domain = fresh("many");
      const guids = Array.from({ length: 110 }, () => fresh("many"));
      await Promise.all(guids.map((guid) => desire(controller(), desired(guid, { domain, instances: 95 }))));
      const request = { domain, cellId: "", processGuid: "", optionalIndex: undefined };
      const sizes: number[] = [];
      const seen = new Set<string>();
      // Removals meanwhile must not show: the list is of the instant it was asked for.
      let removals: Promise<unknown> | undefined;
      for await (const { actualLrps } of serverStream(bbs().actualLrPs.bind(bbs()), request)) {
        removals ??= Promise.all(guids.map(remove));
        sizes.push(actualLrps.length);
        for (const row of actualLrps) seen.add(`${row.actualLrpKey?.processGuid}/${row.actualLrpKey?.index}`);
      }
      await removals;
      expect(seen.size).toBe(110 * 95);
      expect(Math.max(...sizes)).toBeLessThan(1_000);
      const empty = await collect(serverStream(bbs().actualLrPs.bind(bbs()), request), (chunk) => [chunk.actualLrps.length]);
      expect(empty).toEqual([0]);
    });

    it("of large records keep every message below the limit", async () => {
      const domain = fresh("large");
      const environmentVariables = [{ name: "BLOB", value: "x".repeat(400_000) }];
      for (let count = 0; count < 12; count += 1)
        await desire(controller(), desired(fresh("large"), { domain, environmentVariables } as never));
      const bytes: number[] = [];
      let lrps = 0;
      for await (const chunk of serverStream(bbs().desiredLrPs.bind(bbs()), { ...noFilter, domain })) {
        bytes.push(DesiredLRPsResponse.encode(chunk).finish().byteLength);
        lrps += chunk.desiredLrps.length;
      }
      expect(lrps).toBe(12);
      expect(Math.max(...bytes)).toBeLessThan(1.1 * 1024 * 1024);
    });

    it("a request too large to be stored in one commit is refused with its size", async () => {
      const environmentVariables = [{ name: "BLOB", value: "x".repeat(1_500_000) }];
      const asked = desire(controller(), desired(fresh("huge"), { environmentVariables } as never));
      expect(await refusal(asked)).toMatchObject({
        type: "InvalidRequest",
        message: expect.stringMatching(/1\d{6} bytes.*at most 1400000/),
      });
      expect(await outcome(desire(controller(), desired(fresh("next"))))).toBe("ok");
    });
  });

  it("domains that are vouched for are listed", async () => {
    const domain = fresh("vouched");
    await unary(bbs().upsertDomain.bind(bbs()), { domain, ttl: 0 });
    expect((await unary(bbs().domains.bind(bbs()), {})).domains).toContain(domain);
    expect(await refusal(unary(bbs().upsertDomain.bind(bbs()), { domain: "", ttl: 0 }))).toMatchObject({
      type: "InvalidRequest",
    });
  });
}
