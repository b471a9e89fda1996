// Who gets in, and who may do what: the certificate decides. The whole table is walked beside the code; here it is the wire's turn.
import { credentials } from "@grpc/grpc-js";
import { BBSServiceClient } from "@muster/proto/muster/v1/bbs";
import { serverStream, unary } from "@muster/shared/rpc";
import { describe, expect, it } from "vitest";
import { type BbsClients, caOf, clientsOf, clientsWith, tlsOf } from "../../support/bbs.js";
import { claim, desire, desired, fresh, instance, outcome, Rep, refusal, type Subject } from "./fixtures.js";

export function describeRoles(subject: () => Subject): void {
  const address = () => subject().bbs.address;
  const ping = (clients: Pick<BbsClients, "bbs">): Promise<unknown> =>
    unary(clients.bbs.ping.bind(clients.bbs), {}, { deadlineMs: 3_000 });
  const denied = { type: "PermissionDenied", status: "PERMISSION_DENIED" };
  const noConversation = { type: undefined, status: "UNAVAILABLE" };

  describe("who gets in", () => {
    it("nobody without a certificate", async () => {
      const { ca } = await tlsOf("operator");
      const creds = credentials.createSsl(ca, null, null, { checkServerIdentity: () => undefined });
      const bbs = new BBSServiceClient(address(), creds, { "grpc.ssl_target_name_override": "localhost" });
      expect(await refusal(ping({ bbs }))).toMatchObject(noConversation);
      bbs.close();
    });

    it("nobody whose certificate another authority made, whatever it says", async () => {
      using foreign = clientsWith([address()], await tlsOf("operator", "Somebody else"));
      expect(await refusal(ping(foreign))).toMatchObject(noConversation);
    });

    it.each(["root", "cell:", "Operator", "muster"])("nobody called %s", async (commonName) => {
      using stranger = await clientsOf([address()], commonName);
      expect(await refusal(ping(stranger))).toMatchObject(denied);
    });

    it("a BBS with a foreign certificate is not believed", async () => {
      const deceived = { ...(await tlsOf("operator")), ca: await caOf("Somebody else") };
      using clients = clientsWith([address()], deceived);
      expect(await refusal(ping(clients))).toMatchObject(noConversation);
    });
  });

  describe("who may do what", () => {
    it("a cell in its own name only", async () => {
      const { cell1, controller } = subject().as;
      const guid = fresh("mine");
      await desire(controller, desired(guid, { instances: 2 }));
      expect(await refusal(claim(cell1, guid, 0, instance("a", "cell-2")))).toMatchObject(denied);
      expect(await outcome(claim(cell1, guid, 0, instance("a")))).toBe("ok");
    });

    it("a cell reads run information of what it holds, and of nothing else", async () => {
      const { cell1, cell2, controller } = subject().as;
      const guid = fresh("held");
      await desire(controller, desired(guid));
      await claim(cell1, guid, 0, instance("a"));
      const get = ({ bbs }: BbsClients): Promise<unknown> => unary(bbs.desiredLrpByProcessGuid.bind(bbs), { processGuid: guid });
      expect(await outcome(get(cell1))).toBe("ok");
      expect(await refusal(get(cell2))).toMatchObject(denied);
    });

    it("a cell does not desire, a controller does not claim, and neither sets a flag", async () => {
      const { cell1, controller } = subject().as;
      expect(await refusal(desire(cell1, desired(fresh("no"))))).toMatchObject(denied);
      expect(await refusal(claim(controller, "p", 0, instance("a")))).toMatchObject(denied);
      const flag = { name: "diego_docker", enabled: true };
      for (const { flags } of [cell1, controller]) {
        expect(await refusal(unary(flags.setFeatureFlag.bind(flags), flag))).toMatchObject(denied);
      }
    });

    it("a cell watches its own rows, not another's and not everything", async () => {
      const { watch } = subject().as.cell1;
      const first = async (cellId: string): Promise<unknown> => {
        for await (const message of serverStream(watch.watch.bind(watch), { after: undefined, kinds: [], cellId }))
          return message;
        return undefined;
      };
      expect(await outcome(first("cell-1"))).toBe("ok");
      expect(await refusal(first("cell-2"))).toMatchObject(denied);
      expect(await refusal(first(""))).toMatchObject(denied);
    });

    it("a rep reports for its own cell, and only a cell reports", async () => {
      using impostor = new Rep(subject().as.cell1, "cell-2");
      impostor.hello(30_000);
      expect((await impostor.ended)?.code).toBe("PermissionDenied");
      using operator = new Rep(subject().as.operator, "cell-1");
      operator.hello(30_000);
      expect((await operator.ended)?.code).toBe("PermissionDenied");
    });

    it("a lock is taken in its holder's name", async () => {
      const { converger } = subject().as;
      const lock = {
        resource: { key: "auctioneer", owner: "o", value: "", type: "lock", typeCode: 1 as const },
        ttlInSeconds: 5n,
      };
      expect(await refusal(unary(converger.locket.lock.bind(converger.locket), lock))).toMatchObject(denied);
    });
  });
}
