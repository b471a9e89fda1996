// One run of a legacy monitor action: in the container, its output kept for the case that it fails (cell.md section 7).
import type { Container, GardenProcess, OutputSink } from "@muster/garden";
import type { Action, RunAction } from "@muster/proto/models/actions";
import { utf8Cut } from "../plan/index.js";
import { netInfoOf, processSpec } from "./specs.js";
import { type StepHost, startStep } from "./steps.js";

export interface MonitorRun {
  readonly container: Container;
  readonly action: Action;
  /** Never used before in this container, also not by an earlier rep. */
  readonly id: string;
  /** The container's own host, of which a monitor takes no more than it may. */
  readonly host: StepHost;
  /** Ends the run, as a stop would. */
  readonly signal: AbortSignal;
}

/** What a failing check may say of itself. */
const keptBytes = 4_096;

/** Resolves to `undefined` when it succeeded, else to what it said, or how it ended when it said nothing. */
export async function runMonitor({ container, action, id, host, signal }: MonitorRun): Promise<string | undefined> {
  let output = "";
  const own: StepHost = {
    ...host,
    startProcess: (processId: string, run: RunAction, sink: OutputSink): Promise<GardenProcess> =>
      container.run({ ...processSpec(processId, run, netInfoOf(container)), passing: true }, sink),
    log: (_source, _stream, line) => {
      const text = Buffer.from(line).toString("utf8");
      // How each process of it ended is told by the outcome.
      if (!text.startsWith("Exit status ") && output.length < keptBytes) output += `${text}\n`;
    },
    before: () => undefined,
    markDone: () => undefined,
  };
  const step = startStep(action, { host: own, id, source: "HEALTH" });
  const stop = (): void => step.stop();
  signal.addEventListener("abort", stop, { once: true });
  if (signal.aborted) stop();
  const result = await step.done;
  signal.removeEventListener("abort", stop);
  if (result.ok) return undefined;
  const said = Buffer.from(output.trim());
  return said.length === 0 ? result.text : said.subarray(0, utf8Cut(said, keptBytes)).toString("utf8");
}
