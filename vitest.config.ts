// The suites of the house. Workspace packages are resolved to their sources, so a test never runs stale output.
import { availableParallelism } from "node:os";
import { defineConfig } from "vitest/config";

// `import` and `default` are always understood. Named here they would reach Node's own `require`, which then loads ES modules as
// CommonJS: protobufjs silently loses `long` that way, and etcd's 64-bit lease ids with it.
const conditions = ["muster-source", "node"];

export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  test: {
    passWithNoTests: false,
    // Left to itself vitest keeps one core free: on two that is half of them.
    maxWorkers: Math.max(2, availableParallelism()),
    projects: [
      {
        extends: true,
        test: { name: "unit", include: ["{packages,services}/*/src/**/*.test.ts", "test/*.test.ts", "proto/*.test.ts"] },
      },
      {
        extends: true,
        test: { name: "contract", include: ["test/contract/**/*.test.ts"], testTimeout: 60_000, hookTimeout: 60_000 },
      },
      { extends: true, test: { name: "simulation", include: ["test/simulation/**/*.test.ts"], testTimeout: 240_000 } },
      {
        extends: true,
        test: {
          name: "cluster",
          include: ["test/cluster/**/*.test.ts"],
          testTimeout: 180_000,
          hookTimeout: 240_000,
          // Real processes, ports and bridges: one file at a time on two cores.
          fileParallelism: false,
        },
      },
      // Takes long, or half of the machine: `npm run test:long`, not part of `npm test`.
      {
        extends: true,
        test: {
          name: "long",
          include: ["test/long/**/*.test.ts"],
          testTimeout: 600_000,
          hookTimeout: 240_000,
          fileParallelism: false,
        },
      },
    ],
  },
});
