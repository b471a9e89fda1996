// A service that cannot listen where it should, or does not understand its settings, says so in one line, with what to do, and ends as
// one that needs a person.
import { execFile } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type InProcessBbs, memoryHome, type StoreHome, startBbs, tlsSettings } from "../../support/bbs.js";
import { serviceMain } from "../../support/service.js";

let [home, bbs, dir]: [StoreHome?, InProcessBbs?, string?] = [];
let taken: Server;
let takenAddress: string;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "muster-ports-"));
  home = await memoryHome();
  bbs = await startBbs(home);
  taken = createServer().listen(0, "127.0.0.1");
  await once(taken, "listening");
  takenAddress = `127.0.0.1:${(taken.address() as { port: number }).port}`;
});
afterAll(async () => {
  taken?.close();
  await bbs?.[Symbol.asyncDispose]();
  await home?.[Symbol.asyncDispose]();
  if (dir !== undefined) await rm(dir, { recursive: true, force: true });
});

const anywhere = "127.0.0.1:0";
type Service = Parameters<typeof serviceMain>[0];

/** What each service needs to come as far as its ports, with this one of them taken. */
async function settingsOf(service: Service, setting: string, folder: string): Promise<Record<string, unknown>> {
  const bbs_addresses = [bbs?.address];
  const own: Record<Service, [role: string, settings: object]> = {
    bbs: [
      "bbs",
      {
        name: "bbs-1",
        grpc_address: anywhere,
        store: { driver: "lmdb", path: folder },
        encryption_keys: { k1: "a passphrase for tests only" },
        active_key_label: "k1",
      },
    ],
    auctioneer: ["auctioneer", { name: "auctioneer-1", grpc_address: anywhere, bbs_addresses }],
    converger: ["converger", { name: "converger-1", bbs_addresses }],
    rep: [
      "cell:cell-1",
      { name: "rep-1", cell_id: "cell-1", listen_address: anywhere, home: folder, runtime: "simulated", bbs_addresses },
    ],
  };
  const [role, settings] = own[service];
  return { metrics_address: anywhere, ...settings, tls: await tlsSettings(folder, role), [setting]: takenAddress };
}

it.each<[Service, string]>([
  ["bbs", "grpc_address"],
  ["bbs", "http_address"],
  ["bbs", "metrics_address"],
  ["auctioneer", "grpc_address"],
  ["auctioneer", "metrics_address"],
  ["converger", "metrics_address"],
  ["rep", "listen_address"],
  ["rep", "metrics_address"],
])("%s whose %s is another program's", async (service, setting) => {
  const { status, told } = await endOf(service, (folder) => settingsOf(service, setting, folder));
  expect(status).toBe(78);
  expect(told).toMatchObject([
    {
      msg: "service failed",
      err: { message: expect.stringContaining(`cannot listen at ${takenAddress} (${setting}): another program listens there`) },
      hint: expect.stringContaining(`change ${setting}`),
    },
  ]);
});

it.each<Service>(["bbs", "auctioneer", "converger", "rep"])("%s with a setting nobody knows", async (service) => {
  const { status, told } = await endOf(service, async (folder) => ({
    ...(await settingsOf(service, "metrics_address", folder)),
    grcp_address: anywhere,
  }));
  expect(status).toBe(78);
  expect(told).toMatchObject([{ err: { message: expect.stringContaining("grcp_address") }, hint: "mend the named settings" }]);
});

interface Line {
  readonly msg: string;
  readonly hint?: string;
  readonly err?: { readonly message: string };
}

/** Runs a service to its end. `told`: the lines of its log that say what to do. */
async function endOf(
  service: Service,
  settings: (folder: string) => Promise<object>,
): Promise<{ readonly status: unknown; readonly told: readonly Line[] }> {
  const folder = await mkdtemp(join(dir ?? "", `${service}-`));
  const configFile = join(folder, "config.json");
  await writeFile(configFile, JSON.stringify(await settings(folder)));
  return new Promise((resolve) => {
    const args = [serviceMain(service), "--config", configFile];
    execFile(process.execPath, args, { timeout: 40_000, killSignal: "SIGKILL" }, (error, stdout, stderr) => {
      const lines = (stdout + stderr).split("\n").filter((line) => line.startsWith("{"));
      const told = lines.map((line) => JSON.parse(line) as Line).filter(({ hint }) => hint !== undefined);
      resolve({ status: error === null ? 0 : (error.code ?? error.signal), told });
    });
  });
}
