// `node test/dist/contract/edge/main.js --seconds 300 --seed 7`: a long run of the fuzzer; prints one JSON document and exits 1 when
// anything was wrong.
import { parseArgs } from "node:util";
import { runFuzz } from "./fuzz/run.js";

const { values } = parseArgs({ options: { seconds: { type: "string", default: "60" }, seed: { type: "string", default: "1" } } });

const report = await runFuzz({
  seed: Number(values.seed),
  seconds: Number(values.seconds),
  requests: Number.POSITIVE_INFINITY,
});
process.stdout.write(`${JSON.stringify(report, undefined, 2)}\n`);
process.exit(report.wrong.length === 0 ? 0 : 1);
