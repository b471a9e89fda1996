// `node test/dist/contract/edge/main.js --seconds 300 --seed 7`: a long run of the fuzzer. With `--connections 10050`: a crowd at the
// door instead. Prints one JSON document and exits 1 when anything was wrong.
import { parseArgs } from "node:util";
import { runCrowd } from "./crowd.js";
import { runFuzz } from "./fuzz/run.js";

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "60" },
    seed: { type: "string", default: "1" },
    connections: { type: "string" },
  },
});

const report =
  values.connections === undefined
    ? await runFuzz({ seed: Number(values.seed), seconds: Number(values.seconds), requests: Number.POSITIVE_INFINITY })
    : await runCrowd(Number(values.connections));
process.stdout.write(`${JSON.stringify(report, undefined, 2)}\n`);
process.exit(report.wrong.length === 0 ? 0 : 1);
