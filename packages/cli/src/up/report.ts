// What `up` says once everything answers: addresses, cells, and how to go on.
import type { Output } from "../output.js";
import type { UpOptions } from "./options.js";
import type { ServicePlan } from "./service-plan.js";
import { zoneOf } from "./service-plan.js";

export interface ReadyFacts {
  readonly home: string;
  readonly options: UpOptions;
  readonly plans: readonly ServicePlan[];
  readonly bbsGrpc: readonly string[];
  readonly bbsHttp: readonly string[];
  readonly dockerEnabled: boolean;
  /** True when the flag was turned on just now, for the demo. */
  readonly dockerTurnedOn: boolean;
  readonly startedInMs: number;
  /** `--home DIR` when it is not the default. */
  readonly homeFlag: string;
}

export function reportReady(out: Output, facts: ReadyFacts): void {
  const cells = facts.plans
    .filter((plan) => plan.role === "rep")
    .map((plan, n) => ({ cell_id: plan.name, zone: zoneOf(n, facts.options.zones), rep_address: plan.address }));
  if (out.json) {
    out.event({
      event: "ready",
      home: facts.home,
      bbs_grpc: facts.bbsGrpc,
      bbs_http: facts.bbsHttp,
      cells,
      services: facts.plans.map((plan) => ({
        name: plan.name,
        role: plan.role,
        address: plan.address,
        metrics_address: plan.metricsAddress,
      })),
      diego_docker: facts.dockerEnabled,
    });
    return;
  }
  const muster = `./muster${facts.homeFlag === "" ? "" : ` ${facts.homeFlag}`}`;
  out.line(`${out.paint("green", `Muster is up after ${(facts.startedInMs / 1_000).toFixed(1)} s`)}, home ${facts.home}`);
  out.table(
    ["NAME", "ROLE", "ADDRESS", "METRICS"],
    facts.plans.map((plan) => [plan.name, plan.role, plan.address || "-", `http://${plan.metricsAddress}/metrics`]),
  );
  out.line(`Diego's HTTP API: ${facts.bbsHttp.map((address) => `https://${address}`).join(", ")}`);
  out.line(
    `cells: ${cells.map((cell) => `${cell.cell_id} (${cell.zone})`).join(", ")}${facts.options.runtime === "simulated" ? ", simulated: nothing really runs" : ""}`,
  );
  out.line();
  if (facts.dockerTurnedOn) out.line("The feature flag diego_docker is now on in this home, for the demo.");
  if (!facts.dockerEnabled) {
    out.line("Docker apps are off (feature flag diego_docker). Turn them on with:");
    out.line(`  ${muster} enable-feature-flag diego_docker`);
  }
  out.line("Push a first app with:");
  out.line(`  ${muster} push web --docker-image nginx -i 2`);
  out.line("Stop with Ctrl-C; apps and data are kept.");
}
