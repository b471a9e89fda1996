// Backup and restore as an operator does them: the command line against a whole platform, and against its home once it is stopped.
import { existsSync, readFileSync, statSync } from "node:fs";
import { cp, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { startEtcd } from "../support/etcd.js";
import { Platform } from "../support/platform.js";

interface Written {
  readonly records: number;
  readonly by_kind: Readonly<Record<string, number>>;
  readonly sequence: string;
  readonly key_labels: readonly string[];
}

interface Restored {
  readonly records: number;
  readonly replaced: number;
  readonly store: string;
  readonly taken_at_sequence: string;
}

const running = async (platform: Platform, app: string, count: number): Promise<boolean> =>
  (await platform.running(app)).length === count;

it("an app comes back from a backup, in its home and on etcd, however much was changed meanwhile", {
  timeout: 300_000,
}, async () => {
  const dir = await mkdtemp(join(tmpdir(), "muster-backups-"));
  await using _dir = { [Symbol.asyncDispose]: () => rm(dir, { recursive: true, force: true }) };
  await using etcd = await startEtcd();
  const file = join(dir, "muster.backup");
  await using platform = await Platform.start(["--runtime", "simulated", "--cells", "1"]);
  await platform.muster("enable-feature-flag", "diego_docker");
  await platform.muster("push", "web", "--docker-image", "example/web:1", "-i", "3", "--env", "TOKEN=very-secret");
  const written = await platform.json<Written>("backup", file);
  expect(written).toMatchObject({ by_kind: { desired: 1, runinfo: 1 }, key_labels: ["key-1"] });
  expect(statSync(file).mode & 0o777).toBe(0o600);
  expect((await readFile(file)).includes("very-secret")).toBe(false);

  const again = await platform.try("backup", file);
  expect(again).toMatchObject({ status: 3, stdout: "" });
  expect(again.stderr).toContain("--force");
  await platform.muster("backup", file, "--force");
  // A running platform is in the way.
  const busy = await platform.try("restore", file);
  expect(busy.status).toBe(3);
  expect(busy.stderr).toContain("muster up");

  await platform.muster("delete", "web", "-f");
  await platform.muster("push", "other", "--docker-image", "example/other:1");
  await platform.interrupt();
  const unforced = await platform.try("restore", file);
  expect(unforced.status).toBe(3);
  expect(unforced.stderr).toContain("records already");
  const restored = await platform.json<Restored>("restore", file, "--force");
  expect(restored).toMatchObject({ store: "lmdb" });
  expect(restored.replaced).toBeGreaterThan(0);
  await platform.up();
  await platform.eventually("the app runs again", () => running(platform, "web", 3), 60_000);
  expect(await platform.json<{ name: string }[]>("apps")).toMatchObject([{ name: "web" }]);
  expect(await platform.muster("env", "web")).toContain("very-secret");
  await platform.interrupt();

  // The same on etcd, in another home: its key has the same label and cannot open what ours has sealed.
  const home = join(dir, "moved");
  const store = ["--store", "etcd", "--etcd", etcd.endpoints.join(",")];
  await using moved = await Platform.start(["--runtime", "simulated", "--cells", "1", ...store], home);
  await moved.interrupt();
  const keyless = await moved.try("restore", file, "--force", ...store);
  expect(keyless.status).toBe(3);
  expect(keyless.stderr).toContain('"key-1" does not open');
  await cp(join(platform.home, "keys.json"), join(home, "keys.json"));
  const onEtcd = await moved.json<Restored>("restore", file, "--force", ...store);
  expect(onEtcd).toMatchObject({ store: "etcd", records: restored.records });
  await moved.up();
  await moved.eventually("the app runs there", () => running(moved, "web", 3), 60_000);
  expect(await moved.muster("env", "web")).toContain("very-secret");
  for (const log of ["bbs-1", "auctioneer-1", "converger-1", "cell-1"]) {
    const path = join(home, "logs", `${log}.log`);
    expect(existsSync(path) && !readFileSync(path, "utf8").includes("very-secret")).toBe(true);
  }
});
