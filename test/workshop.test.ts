// The bootstrap's own decisions: what must be installed, what a test run amounts to, and how the launcher finds its build.
import { execFile } from "node:child_process";
import { chmod, copyFile, mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { root } from "./tidy/files.js";

// Plain JavaScript without types: its shape is stated here, once.
interface Bootstrap {
  count(exitCode: number, report: object): { passed: number; failed: number };
  neededFor(flags: readonly string[]): readonly string[];
}
const script = async (name: string): Promise<Bootstrap> => (await import(path.join(root, "scripts/lib", name))) as Bootstrap;

const containers = ["runc", "conmon", "containernetworking-plugins", "e2fsprogs", "iptables", "iproute2"];
const image = ["skopeo", "umoci"];
const pulls = [...image, "ca-certificates"];
const demo = ["docker-registry", "busybox-static"];

describe("what npm start needs of the system", () => {
  it.each([
    ["", [...containers, ...pulls, ...demo]],
    ["--no-demo", [...containers, ...pulls]],
    ["--no-demo --demo", [...containers, ...pulls, ...demo]],
    ["--runtime runc --cells 3", [...containers, ...pulls, ...demo]],
    ["--runtime simulated", [...image, ...demo]],
    ["--runtime=simulated --no-demo", []],
    ["--runtime=simulated --runtime runc --no-demo", [...containers, ...pulls]],
    ["--home --runtime --no-demo", [...containers, ...pulls]],
    ["--help", []],
  ])("flags %j", async (flags, packages) => {
    const { neededFor } = await script("system-packages.mjs");
    expect(neededFor(flags.split(" ").filter((flag) => flag !== ""))).toEqual(packages);
  });
});

describe("what a vitest run amounts to", () => {
  const file = (status: string, ...tests: string[]): object => ({
    status,
    assertionResults: tests.map((each, i) => ({ status: each, fullName: `test ${i}` })),
  });
  it.each([
    ["all passed", 0, { numPassedTests: 2, testResults: [file("passed", "passed", "passed")] }, 2, 0],
    ["one failed", 1, { numPassedTests: 1, testResults: [file("failed", "passed", "failed")] }, 1, 1],
    ["one was skipped", 0, { numPassedTests: 1, testResults: [file("passed", "passed", "pending")] }, 1, 1],
    ["a file could not be loaded", 1, { numPassedTests: 1, testResults: [file("passed", "passed"), file("failed")] }, 1, 1],
    ["an error came outside any test", 1, { numPassedTests: 1, testResults: [file("passed", "passed")] }, 1, 1],
    ["nothing was run", 0, { numPassedTests: 0, testResults: [] }, 0, 1],
    ["there is no report", 1, {}, 0, 1],
  ])("%s", async (_, exitCode, report, passed, failed) => {
    const { count } = await script("test.mjs");
    expect(count(exitCode, report)).toEqual({ passed, failed });
  });
});

describe("the muster launcher", () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(path.join(tmpdir(), "muster-launcher-"));
    await copyFile(path.join(root, "muster"), path.join(folder, "muster"));
    await chmod(path.join(folder, "muster"), 0o755);
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));

  const launch = (command: string, ...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> =>
    new Promise((resolve) => {
      execFile(command, args, { cwd: tmpdir() }, (error, stdout, stderr) => {
        resolve({ code: typeof error?.code === "number" ? error.code : 0, stdout, stderr });
      });
    });

  it("says what to do before the first build", async () => {
    const { code, stderr } = await launch(path.join(folder, "muster"), "status");
    expect(code).toBe(1);
    expect(stderr).toContain('Run "npm start" once');
  });

  it("runs what is built, from any folder and through a link, with its arguments and exit code", async () => {
    await mkdir(path.join(folder, "packages/cli/dist"), { recursive: true });
    await writeFile(
      path.join(folder, "packages/cli/dist/main.js"),
      "console.log(JSON.stringify(process.argv.slice(2))); process.exit(3);",
    );
    await symlink(path.join(folder, "muster"), path.join(folder, "link"));
    expect(await launch(path.join(folder, "link"), "push", "a b", "--json")).toMatchObject({
      code: 3,
      stdout: '["push","a b","--json"]\n',
    });
  });
});
