// The rule table of docs/architecture.md against the one the code judges by.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { type RuleEntry, ruleTable } from "@muster/shared/rules";
import { expect, it } from "vitest";

const architecture = fileURLToPath(new URL("../docs/architecture.md", import.meta.url));

it("docs/architecture.md has every convergence rule, word for word", () => {
  const lines = readFileSync(architecture, "utf8").split("\n");
  const first = lines.findIndex((line) => line.startsWith("| Rule |"));
  const length = lines.slice(first).findIndex((line) => !line.startsWith("|"));
  const row = ([name, { finds, repair, holdBack, freshDomain, reference }]: [string, RuleEntry]): string =>
    `| ${[name, finds, repair, holdBack, freshDomain, reference].join(" | ")} |`;
  expect(lines.slice(first + 2, first + length)).toEqual(Object.entries(ruleTable).map(row));
});
