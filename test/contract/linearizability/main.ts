// `node test/dist/contract/linearizability/main.js --seconds 300 --seed 7 --members 3`: a long run; prints one JSON document and exits 1 when
// something acknowledged is gone, a read was stale, or a history cannot be put in order.
import { parseArgs } from "node:util";
import { runLinearizability } from "./run.js";

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "60" },
    seed: { type: "string", default: "1" },
    clients: { type: "string", default: "8" },
    keys: { type: "string", default: "4" },
    members: { type: "string", default: "1" },
    "leadership-ttl-ms": { type: "string" },
  },
});

const report = await runLinearizability({
  seed: Number(values.seed),
  seconds: Number(values.seconds),
  clients: Number(values.clients),
  keys: Number(values.keys),
  members: values.members === "3" ? 3 : 1,
  leadershipTtlMs: values["leadership-ttl-ms"] === undefined ? undefined : Number(values["leadership-ttl-ms"]),
  onProgress: (line) => process.stderr.write(`${line}\n`),
});
process.stdout.write(`${JSON.stringify(report, undefined, 2)}\n`);
const { violations, undecided_keys, acknowledged_writes_lost, stale_reads, invented_reads } = report;
const wrong = violations.length + undecided_keys + acknowledged_writes_lost + stale_reads + invented_reads;
process.exit(wrong === 0 ? 0 : 1);
