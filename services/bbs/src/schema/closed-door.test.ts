// The door that is closed while records are migrated: 503 to everybody, and gone when it is to open.
import { request } from "node:https";
import { systemClock } from "@muster/shared/clock";
import { createAuthority, issueCertificate } from "@muster/shared/tls";
import { expect, it } from "vitest";
import { serveClosedDoor } from "./closed-door.js";

it("answers every call with 503, then makes room for the open one", async () => {
  const authority = await createAuthority("test", systemClock.nowMs());
  const issued = await issueCertificate(authority, "bbs", { nowMs: systemClock.nowMs() });
  const tls = {
    ca: Buffer.from(authority.certificatePem),
    cert: Buffer.from(issued.certificatePem),
    key: Buffer.from(issued.keyPem),
  };
  const door = await serveClosedDoor("127.0.0.1:0", tls);
  const { port } = door;
  const ask = (path: string): Promise<number | undefined> =>
    new Promise((resolve, reject) => {
      const options = {
        host: "127.0.0.1",
        port,
        path,
        method: "POST",
        agent: false,
        checkServerIdentity: () => undefined,
        ...tls,
      };
      const asked = request(options, (response) => {
        response.resume();
        response.on("end", () => resolve(response.statusCode));
      });
      asked.on("error", reject);
      asked.end("a body");
    });
  expect(await Promise.all([ask("/v1/ping"), ask("/v1/tasks/list.r3")])).toEqual([503, 503]);
  await door.close();
  await expect(ask("/v1/ping")).rejects.toMatchObject({ code: "ECONNREFUSED" });
});
