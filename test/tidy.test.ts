// What a review would otherwise have to repeat: walls between rooms, and the manners of every file in the repository.
import { execFile } from "node:child_process";
import { cp, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { type RepoFile, repoFiles, root } from "./tidy/files.js";
import { importsOf } from "./tidy/imports.js";
import { brokenWalls } from "./tidy/walls.js";

const files = repoFiles();
const isGenerated = (file: RepoFile): boolean => file.name.startsWith("proto/gen/");
const sources = files.filter((file) => /\.(ts|mjs)$/.test(file.name) && !isGenerated(file));
/** `file:line: text` of every line that matches, so that a failure reads like a list of things to do. */
const linesMatching = (among: readonly RepoFile[], pattern: RegExp): readonly string[] =>
  among.flatMap(({ name, text }) =>
    text.split("\n").flatMap((line, i) => (pattern.test(line) ? [`${name}:${i + 1}: ${line.trim().slice(0, 120)}`] : [])),
  );

describe("imports are read", () => {
  it.each([
    ['import { a } from "x";', "x", false],
    ['import {\n  a,\n  type B,\n} from "x";', "x", false],
    ['import type { A } from "x";', "x", true],
    ['import { type A, type B as C } from "x";', "x", true],
    ['import "x";', "x", false],
    ['import * as a from "x";', "x", false],
    ['export * from "x";', "x", false],
    ['export type { A } from "x";', "x", true],
    ['  const a = await import("x");', "x", false],
  ])("%s", (text, specifier, typeOnly) => {
    expect(importsOf(text)).toEqual([{ specifier, typeOnly }]);
  });

  it.each([
    '// import { a } from "x";',
    '/**\n * import { a } from "x";\n */',
    'export const a = "x";',
    'export const a = { b: "x" };',
  ])("no import in %s", (text) => {
    expect(importsOf(text)).toEqual([]);
  });
});

describe("walls", () => {
  const base: readonly (readonly [string, string])[] = [
    ["packages/shared/package.json", '{ "exports": { "./*": { "muster-source": "./src/*/index.ts" } } }'],
    ["packages/garden/package.json", '{ "exports": { "./image-ref": { "muster-source": "./src/image/reference.ts" } } }'],
    ["packages/garden/src/image/reference.ts", 'import { readFileSync } from "node:fs";'],
    ["proto/package.json", '{ "exports": { "./*": { "muster-source": "./gen/*.ts" } } }'],
    ["packages/shared/src/clock/index.ts", 'export { systemClock } from "./system.js";'],
    ["packages/shared/src/clock/system.ts", 'import { randomUUID } from "node:crypto";'],
    ["packages/shared/src/model/index.ts", 'export * from "./ids.js";'],
    ["packages/shared/src/model/ids.ts", 'import { Error_Type } from "@muster/proto/models/error";'],
    ["proto/gen/models/error.ts", 'import { BinaryReader } from "@bufbuild/protobuf/wire";'],
    ["proto/gen/muster/v1/watch.ts", 'import { Client } from "@grpc/grpc-js";'],
  ];
  const breaches = (file: string, text: string): readonly string[] => brokenWalls(new Map([...base, [file, text]]));

  it.each([
    ["a service imports another", "services/rep/src/a.ts", 'import { b } from "@muster/bbs";'],
    ["a service imports another's type", "services/rep/src/a.ts", 'import type { B } from "@muster/bbs";'],
    ["a service's test imports another", "services/rep/src/a.test.ts", 'import { b } from "@muster/bbs";'],
    ["a service imports the command line", "services/rep/src/a.ts", 'import { b } from "@muster/cli";'],
    ["shared imports the store", "packages/shared/src/a.ts", 'import { b } from "@muster/store";'],
    ["the store imports a service", "packages/store/src/a.ts", 'import { b } from "@muster/bbs";'],
    ["the command line outside up imports a service", "packages/cli/src/a.ts", 'import { b } from "@muster/bbs";'],
    ["a package's files are reached by path", "services/rep/src/a.ts", 'import { b } from "../../bbs/src/b.js";'],
    ["a package's files are reached by name", "services/rep/src/a.ts", 'import { b } from "@muster/store/src/etcd/b";'],
    ["a test reaches into a package", "test/cluster/a.test.ts", 'import { b } from "../../services/bbs/src/b.js";'],
    ["a library leaves its room", "services/bbs/src/a.ts", 'import { Etcd3 } from "etcd3";'],
    ["an interface knows its driver", "packages/store/src/driver.ts", 'import type { A } from "./etcd/a.js";'],
    ["a main is imported", "services/bbs/src/a.ts", 'import { b } from "./main.js";'],
    ["a pure room reads files", "services/bbs/src/core/a.ts", 'import { readFileSync } from "node:fs";'],
    ["a pure room does so later", "services/bbs/src/core/a.ts", 'const fs = await import("node:fs");'],
    ["a pure room uses gRPC", "services/rep/src/plan/a.ts", 'import { Server } from "@grpc/grpc-js";'],
    ["a pure room reaches a package's I/O", "services/rep/src/plan/a.ts", 'import { b } from "@muster/garden/image-ref";'],
    ["a pure room reaches the clock", "packages/shared/src/rules/a.ts", 'import { systemClock } from "../clock/index.js";'],
    [
      "a pure room reaches it by name",
      "services/auctioneer/src/plan/a.ts",
      'import { systemClock } from "@muster/shared/clock";',
    ],
  ])("%s: found", (_, file, text) => {
    expect(breaches(file, text)).toEqual([expect.stringContaining(file)]);
  });

  it.each([
    ["a service imports packages", "services/rep/src/a.ts", 'import { b } from "@muster/garden";'],
    ["up wires a service", "packages/cli/src/up/a.ts", 'import { b } from "@muster/bbs";'],
    ["a test wires a service", "test/simulation/a.ts", 'import { b } from "@muster/bbs";'],
    ["a pure room names a type of the clock", "services/bbs/src/core/a.ts", 'import type { Clock } from "@muster/shared/clock";'],
    ["a pure room uses the model", "services/bbs/src/core/a.ts", 'import { asCellId } from "@muster/shared/model";'],
    ["a pure room uses a message", "services/rep/src/plan/a.ts", 'import { WatchRequest } from "@muster/proto/muster/v1/watch";'],
    ["a pure room's test reads files", "services/bbs/src/core/a.test.ts", 'import { readFileSync } from "node:fs";'],
    ["a driver uses its library", "packages/store/src/etcd/a.ts", 'import { Etcd3 } from "etcd3";'],
  ])("%s: stands", (_, file, text) => {
    expect(breaches(file, text)).toEqual([]);
  });

  it("names the way to what a pure file reaches", () => {
    expect(breaches("services/bbs/src/core/a.ts", 'import { systemClock } from "@muster/shared/clock";')).toEqual([
      "services/bbs/src/core/a.ts is pure but reaches node:crypto: " +
        "services/bbs/src/core/a.ts > packages/shared/src/clock/index.ts > packages/shared/src/clock/system.ts",
    ]);
  });

  it("stand in this repository", () => {
    expect(
      brokenWalls(
        new Map(files.filter((file) => /(\.ts|\/package\.json)$/.test(file.name)).map(({ name, text }) => [name, text])),
      ),
    ).toEqual([]);
  });
});

describe("lint", { timeout: 60_000 }, () => {
  const service = "services/bbs/src/a.ts";
  const core = "services/bbs/src/core/a.ts";
  const cases: readonly { file: string; code: string; finds?: string }[] = [
    { file: service, code: "export const a = Date.now();", finds: "plugin" },
    { file: service, code: "export const a = [1].map(Math.random);", finds: "plugin" },
    { file: service, code: "export const a = new Date();", finds: "plugin" },
    { file: service, code: "export const a = new Date(5);" },
    { file: service, code: "export const a = performance.now();", finds: "plugin" },
    { file: service, code: "export const a = AbortSignal.timeout(5);", finds: "plugin" },
    { file: service, code: 'import { randomUUID } from "node:crypto";\nexport const a = randomUUID();', finds: "plugin" },
    { file: service, code: "setTimeout(() => undefined, 5);", finds: "noRestrictedGlobals" },
    {
      file: service,
      code: 'import { setTimeout } from "node:timers/promises";\nawait setTimeout(5);',
      finds: "noRestrictedImports",
    },
    { file: service, code: "const a = async () => 1;\na();", finds: "noFloatingPromises" },
    { file: service, code: 'import { a } from "@muster/rep";\nexport const b = a;', finds: "noRestrictedImports" },
    { file: service, code: 'import { a } from "@muster/store";\nexport const b = a;' },
    { file: core, code: 'import { a } from "node:fs";\nexport const b = a;', finds: "noRestrictedImports" },
    {
      file: core,
      code: 'import { systemClock } from "@muster/shared/clock";\nexport const b = systemClock;',
      finds: "noRestrictedImports",
    },
    {
      file: core,
      code: 'import { BBSClient } from "@muster/proto/muster/v1/bbs";\nexport const b = BBSClient;',
      finds: "noRestrictedImports",
    },
    { file: "test/simulation/a.ts", code: "export const a = Date.now();", finds: "plugin" },
    { file: "test/cluster/a.test.ts", code: "export const a = Date.now();" },
    { file: "packages/cli/src/up/a.ts", code: 'import { a } from "@muster/bbs";\nexport const b = a;' },
    { file: "packages/shared/src/clock/system.ts", code: "export const a = Date.now();" },
  ];

  it("finds each of these, and nothing in what is allowed", async () => {
    const folder = await mkdtemp(path.join(tmpdir(), "muster-lint-"));
    try {
      await cp(path.join(root, "biome.json"), path.join(folder, "biome.json"));
      await cp(path.join(root, "scripts/lint"), path.join(folder, "scripts/lint"), { recursive: true });
      for (const [i, { file, code }] of cases.entries()) {
        const name = path.join(
          folder,
          file.replace(/a(\.test)?\.ts$|system\.ts$/, (end) => (end === "system.ts" ? end : `case-${i}${end.slice(1)}`)),
        );
        await mkdir(path.dirname(name), { recursive: true });
        await writeFile(name, `${code}\n`);
      }
      const found = await lint(folder);
      const expected = cases.flatMap(({ file, finds }, i) =>
        finds === undefined ? [] : [`${file.replace(/a(\.test)?\.ts$/, `case-${i}$1.ts`)} ${finds}`],
      );
      expect(found).toEqual(expected.sort());
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });

  /** `file rule` for every error, once each, sorted. */
  async function lint(folder: string): Promise<readonly string[]> {
    const biome = path.join(root, "node_modules/.bin/biome");
    const args = ["lint", "--vcs-enabled=false", "--reporter=github", "--max-diagnostics=none", "--diagnostic-level=error", "."];
    const output = await new Promise<string>((resolve) => {
      execFile(biome, args, { cwd: folder, encoding: "utf8" }, (_, stdout) => resolve(stdout));
    });
    const rows = [...output.matchAll(/^::error title=([^,]+),file=([^,]+),/gm)];
    return [
      ...new Set(
        rows.map(([, rule = "", file = ""]) => `${path.relative(folder, path.resolve(folder, file))} ${path.basename(rule)}`),
      ),
    ].sort();
  }
});

describe("every file", () => {
  it("of TypeScript and JavaScript opens by saying what it is for", () => {
    expect(sources.filter(({ text }) => !/^(#!.*\n)?(\/\/ \S|\/\*)/.test(text)).map(({ name }) => name)).toEqual([]);
  });

  it("of code is at most 500 lines long", () => {
    expect(sources.filter(({ text }) => text.split("\n").length > 501).map(({ name }) => name)).toEqual([]);
  });

  it("of code has a kebab-case name", () => {
    expect(
      sources.filter(({ name }) => !/^[a-z0-9]+([.-][a-z0-9]+)*$/.test(path.posix.basename(name))).map(({ name }) => name),
    ).toEqual([]);
  });

  it("is executable when it is run by name, and only then", () => {
    const run = files.filter(({ executable }) => executable).map(({ name }) => name);
    expect(run).toEqual(expect.arrayContaining([".ci/run", "muster"]));
    expect(files.filter(({ executable, text }) => executable !== text.startsWith("#!")).map(({ name }) => name)).toEqual([]);
  });

  it("leaves the tests' records to tests", () => {
    const ofTests = /\.test\.ts$|test-support\.ts$|\/testing\/|^test\//;
    expect(
      linesMatching(
        sources.filter(({ name }) => !ofTests.test(name)),
        /from "@muster\/shared\/testing"/,
      ),
    ).toEqual([]);
  });

  it("runs all of its tests", () => {
    const leftOut = /\b(describe|it|test)(\.\w+)*\.(only|skip|todo|fails|skipIf|runIf)\b|\bcontext\.skip\(/;
    expect(linesMatching([{ name: "x", text: 'it.skip("x")', executable: false }], leftOut)).toHaveLength(1);
    expect(
      linesMatching(
        files.filter(({ name }) => name.endsWith(".ts") && name !== "test/tidy.test.ts"),
        leftOut,
        // What takes long may need a package or a mirror that is not there; its name then says which.
      ).filter((line) => !(line.startsWith("test/long/") && line.includes("describe.skipIf("))),
    ).toEqual([]);
  });

  it("names no package registry, no download address and no folder of one person's machine", () => {
    // In parts, so that this file names no host either.
    const npm = ["registry", "npmjs", "org"].join(".");
    const others = ["registry yarnpkg com", "npmmirror com", "deb debian org", "archive ubuntu com", "pkg dev"];
    const registries = [npm, ...others.map((parts) => parts.replaceAll(" ", "."))];
    const configured = /^https?:\/\/([^/:]+)/.exec(process.env.npm_config_registry ?? "")?.[1];
    const hosts = [...registries, ...(configured === undefined ? [] : [configured])].map((host) => host.replaceAll(".", "\\."));
    const download = "https?://[\\w-]+\\.\\S+\\.(tgz|tar\\.\\w+|zip|deb|whl)\\b";
    const folders = "(?<![\\w.$}/-])/(Users|workspace|work)/\\w";
    const banned = new RegExp([...hosts, download, folders].join("|"));
    for (const line of [`at ${npm}`, "https://x.y/a.tgz", `"${path.posix.join("/", "work", "x")}"`]) expect(line).toMatch(banned);
    expect(
      linesMatching(
        files.filter(({ name }) => name !== "test/tidy.test.ts"),
        banned,
      ),
    ).toEqual([]);
  });

  it("of the lockfile came without an address", () => {
    const lockfile = files.filter(({ name }) => name === "pnpm-lock.yaml");
    expect(lockfile).toHaveLength(1);
    expect(linesMatching(lockfile, /https?:\/\/|tarball:/)).toEqual([]);
  });
});
