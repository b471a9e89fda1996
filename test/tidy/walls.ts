// Who may import what: the walls of the house, found broken by reading the sources. Lint holds those that can be seen in one
// file; what is reached over several files, and who owns which library, is held here.
import path from "node:path";
import { importsOf } from "./imports.js";

/** Sources and the `package.json` of each workspace, by their path from the root, with forward slashes. */
export type Sources = ReadonlyMap<string, string>;

const pureRooms = /^(packages\/shared\/src\/(model|errors|rules)|services\/[^/]+\/src\/(core|plan))\//;
const testCode = /(\.test\.ts$|\/testing\/|^test\/|^vitest\.config\.ts$)/;
const rewired = /^(test\/|packages\/cli\/src\/up\/)/;
/** A simulation needs no platform: it runs the auctioneer's pure half, and nothing else of it. */
const simulates = /^packages\/cli\/src\/(simulate\/|verbs\/simulate\.ts$)/;

/** What each workspace may import of the others; `main.ts` files and tests wire what their workspace may import. */
const mayImport: readonly { readonly room: RegExp; readonly allowed: readonly string[] }[] = [
  { room: /^proto\//, allowed: [] },
  { room: /^packages\/shared\//, allowed: ["proto"] },
  { room: /^packages\/(store|garden)\//, allowed: ["proto", "shared"] },
  { room: /^(packages\/cli|services)\//, allowed: ["proto", "shared", "store", "garden"] },
];

/** Each library that does I/O has one room, so that it can be replaced, pinned and simulated in one place. */
const libraryRooms: Readonly<Record<string, RegExp>> = {
  etcd3: /^(packages\/store\/src\/etcd\/|test\/)/,
  lmdb: /^(packages\/store\/src\/lmdb\/|test\/)/,
  commander: /^packages\/cli\//,
  pino: /^packages\/shared\/src\/log\//,
  "prom-client": /^(packages\/shared\/src\/metrics\/|services\/|test\/)/,
  "@peculiar/x509": /^packages\/shared\/src\/tls\//,
  vitest: testCode,
  "fast-check": testCode,
};

/** An interface knows nothing of those who fulfil it. */
const interfaces: Readonly<Record<string, RegExp>> = {
  "packages/store/src/driver.ts": /^packages\/store\/src\/(etcd|lmdb|memory)\//,
  "packages/garden/src/garden.ts": /^packages\/garden\/src\/(runc|simulated|image|network|tools)\//,
};

/**
 * What pure code may load: protobuf's reader and writer, which do no I/O; and grpc-js where generated code brings it along,
 * since a message lies in one file with its client stubs (lint forbids pure rooms to name a stub).
 */
const mayReach = (file: string, specifier: string): boolean =>
  /^@bufbuild\/protobuf(\/|$)/.test(specifier) || (file.startsWith("proto/gen/") && specifier === "@grpc/grpc-js");

/** Every broken wall as one sentence, sorted; an empty list when all stand. */
export function brokenWalls(sources: Sources): readonly string[] {
  const breaches: string[] = [];
  for (const [file, text] of sources) {
    if (file.startsWith("proto/gen/") || !file.endsWith(".ts")) continue;
    for (const { specifier, typeOnly } of importsOf(text)) {
      const why = whyForbidden(file, specifier) ?? (typeOnly ? undefined : whyForbiddenAtRun(file, specifier));
      if (why !== undefined) breaches.push(`${file} imports ${specifier}: ${why}`);
    }
    if (pureRooms.test(file) && !testCode.test(file)) breaches.push(...impurities(file, sources));
  }
  return breaches.sort();
}

const workspaceOf = (file: string): string => /^(packages|services)\/[^/]+|^[^/]+/.exec(file)?.[0] ?? "";
const packageOf = (specifier: string): string =>
  specifier
    .split("/")
    .slice(0, specifier.startsWith("@") ? 2 : 1)
    .join("/");

function whyForbidden(file: string, specifier: string): string | undefined {
  if (specifier.startsWith(".")) {
    const target = path.posix.join(path.posix.dirname(file), specifier);
    if (workspaceOf(target) !== workspaceOf(file)) return "nobody reaches into another package's files";
    if (interfaces[file]?.test(target)) return "an interface keeps away from its drivers";
    if (path.posix.basename(target) === "main.js") return "a main is run, never imported";
    return undefined;
  }
  const named = /^@muster\/([^/]+)(\/.*)?$/.exec(specifier);
  if (named === null) return undefined;
  const [, name = "", below = ""] = named;
  if (/^\/(src|dist)(\/|$)/.test(below)) return "nobody reaches into another package's files";
  if (rewired.test(file)) return undefined;
  if (simulates.test(file) && specifier === "@muster/auctioneer/plan") return undefined;
  const allowed = mayImport.find(({ room }) => room.test(file))?.allowed ?? [];
  return allowed.includes(name) ? undefined : `${workspaceOf(file)} may import ${allowed.join(", ") || "no other room"}`;
}

/** Walls that a type-only import does not touch. */
function whyForbiddenAtRun(file: string, specifier: string): string | undefined {
  const room = libraryRooms[packageOf(specifier)];
  return room === undefined || room.test(file) ? undefined : `${packageOf(specifier)} has its one room elsewhere`;
}

/** I/O that a pure file would load, itself or through what it imports, each with the way there. */
function impurities(start: string, sources: Sources): readonly string[] {
  const cameFrom = new Map<string, string | undefined>([[start, undefined]]);
  const found = new Map<string, string>();
  for (const file of cameFrom.keys()) {
    for (const { specifier, typeOnly } of importsOf(sources.get(file) ?? "")) {
      if (typeOnly) continue;
      const target = resolve(file, specifier, sources);
      if (target !== undefined && sources.has(target)) {
        if (!cameFrom.has(target)) cameFrom.set(target, file);
      } else if (!mayReach(file, specifier) && !found.has(specifier)) {
        found.set(specifier, wayTo(file, cameFrom).join(" > "));
      }
    }
  }
  return [...found].map(([specifier, way]) => `${start} is pure but reaches ${specifier}: ${way}`);
}

function wayTo(file: string, cameFrom: ReadonlyMap<string, string | undefined>): readonly string[] {
  const before = cameFrom.get(file);
  return before === undefined ? [file] : [...wayTo(before, cameFrom), file];
}

/** The source file an import means; `undefined` for a library and for what no package exports. */
function resolve(file: string, specifier: string, sources: Sources): string | undefined {
  if (specifier.startsWith(".")) return path.posix.join(path.posix.dirname(file), specifier).replace(/\.js$/, ".ts");
  const named = /^@muster\/([^/]+)(?:\/(.+))?$/.exec(specifier);
  if (named === null) return undefined;
  const [, name = "", below] = named;
  const home = [name, `packages/${name}`, `services/${name}`].find((folder) => sources.has(`${folder}/package.json`));
  const { exports = {} } = JSON.parse(sources.get(`${home}/package.json`) ?? "{}") as Manifest;
  const exact = exports[below === undefined ? "." : `./${below}`];
  const source = exact?.["muster-source"] ?? exports["./*"]?.["muster-source"]?.replace("*", below ?? "");
  return source === undefined ? undefined : path.posix.join(home ?? "", source);
}

interface Manifest {
  readonly exports?: Readonly<Record<string, { readonly "muster-source"?: string }>>;
}
