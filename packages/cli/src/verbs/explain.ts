// `explain` and `plan`: the auctioneer's verdicts, and everything else that keeps an app from running, in words.
import { rootFSOfImage } from "@muster/garden/image-ref";
import type { ExplainRequest } from "@muster/proto/muster/v1/auctioneer";
import { unary } from "@muster/shared/rpc";
import { isLive } from "@muster/shared/rules";
import { appsDomain } from "../apps/annotation.js";
import { isDockerEnabled } from "../apps/docker-flag.js";
import { type FoundApp, findApp } from "../apps/records.js";
import { type InstanceShape, instanceShape } from "../apps/shapes.js";
import { taskShape, tasksOfApp } from "../apps/tasks.js";
import { parseInstances } from "../apps/wishes.js";
import { type AuctioneerClient, dialAuctioneer } from "../client/peers.js";
import type { Platform } from "../client/platform.js";
import { type Context, openSession } from "../context.js";
import { explain, RefusedError, UsageError } from "../exit.js";
import { explainApp, explainInstance, type InstanceAnswer, missingAnswer, type Surroundings } from "../explain/instance.js";
import type { Answer, Refusal } from "../explain/placement.js";
import { explainTask } from "../explain/task.js";
import { parseCount, parseSizeMb } from "../flags.js";
import { readReference } from "../image/inspect.js";
import type { Output } from "../output.js";
import { verdictHeader, verdictRow, verdictShape } from "./verdicts.js";

const askMs = 5_000;

async function withAuctioneer<Result>(
  platform: Platform,
  ask: (auctioneer: AuctioneerClient) => Promise<Result>,
): Promise<Result> {
  const auctioneer = await dialAuctioneer(platform);
  try {
    return await ask(auctioneer);
  } finally {
    auctioneer.close();
  }
}

/** `NAME` or `NAME/INDEX`. */
export function parseTarget(target: string): { readonly name: string; readonly index: number | undefined } {
  const slash = target.indexOf("/");
  if (slash < 0) return { name: target, index: undefined };
  return { name: target.slice(0, slash), index: parseCount(target.slice(slash + 1), "INDEX", { min: 0, max: 1_000_000 }) };
}

export async function explainVerb(context: Context, target: string): Promise<void> {
  const { name, index } = parseTarget(target);
  using session = openSession(context);
  const { platform } = session;
  const found = await findApp(platform, name);
  const { current } = found;
  const [dockerEnabled, domains, { tables }] = await Promise.all([
    isDockerEnabled(platform),
    platform.domains(),
    platform.snapshot(["cell"]),
  ]);
  if (index !== undefined && !indicesOf(found, dockerEnabled).includes(index))
    throw new RefusedError(`app ${name} wants ${current.instances} instances: there is no instance ${index}`);
  using judge = await findJudge(context, platform);
  const surroundings: Surroundings = {
    app: name,
    dockerEnabled,
    wanted: current.instances,
    domainFresh: domains.includes(appsDomain),
    auctioneer: judge.present,
    lostCells: [...tables.cells.values()].filter((cell) => !isLive(cell)).map(({ cellId }) => cellId),
  };
  const stopped = current.annotation.requested_state === "STOPPED";
  const shape = {
    name,
    process_guid: current.processGuid,
    requested_state: current.annotation.requested_state,
    diego_docker: dockerEnabled,
    domain_fresh: surroundings.domainFresh,
    ...(explainApp({ ...surroundings, stopped }) ?? { why: "", what_to_do: "" }),
    instances: await instanceAnswers(found, surroundings, judge, index),
    tasks: index === undefined ? await taskAnswers(platform, found, surroundings, judge) : [],
  };
  context.out.show(shape, () => print(context.out, shape));
}

type Shape = Answer & {
  readonly name: string;
  readonly instances: readonly (Answer & {
    readonly index: number;
    readonly presence?: string;
    readonly cells: readonly Refusal[];
  })[];
  readonly tasks: readonly (Answer & { readonly name: string; readonly task_guid: string; readonly cells: readonly Refusal[] })[];
};

/** An index may have two rows: one that waits or runs, and one that is about to go. */
const copies: Readonly<Record<string, string>> = { EVACUATING: " (the old copy)", SUSPECT: " (the lost copy)" };

function print(out: Output, { name, why, what_to_do, instances, tasks }: Shape): void {
  let shown: readonly Refusal[] = [];
  const tell = (subject: string, answer: Answer, cells: readonly Refusal[] = []): void => {
    out.line(`${subject}: ${answer.why}`);
    out.line(`  what to do: ${answer.what_to_do}`);
    // Once for all that are refused alike.
    if (cells.length > 0 && cells !== shown) out.table(verdictHeader, cells.map(verdictRow));
    shown = cells;
  };
  if (why !== "") tell(name, { why, what_to_do });
  for (const each of instances) tell(`${name}/${each.index}${copies[each.presence ?? ""] ?? ""}`, each, each.cells);
  for (const each of tasks) tell(`task ${each.name || each.task_guid}`, each, each.cells);
}

/** The indices there is something to say of: those with rows, and those that are wanted. */
function indicesOf({ current, view }: FoundApp, dockerEnabled: boolean): number[] {
  const indices = new Set((view.rows.get(current.processGuid) ?? []).map((row) => row.actualLrpKey?.index ?? 0));
  const wanted = dockerEnabled ? current.instances : 0;
  for (let index = 0; index < wanted; index += 1) indices.add(index);
  return [...indices].sort((a, b) => a - b);
}

async function instanceAnswers(found: FoundApp, surroundings: Surroundings, judge: Judge, only: number | undefined) {
  const { current, view } = found;
  const rows = (view.rows.get(current.processGuid) ?? []).map((row) => instanceShape(row, new Map()));
  // Instances of one app ask the same: those that were told the same are refused by the same cells.
  const known = new Map<string, readonly Refusal[]>();
  const refusalsOf = async ({ index, placement_error }: InstanceShape): Promise<readonly Refusal[]> => {
    const refusals =
      known.get(placement_error) ?? (await judge.refusals({ processGuid: current.processGuid, index, taskGuid: "" }));
    known.set(placement_error, refusals);
    return refusals;
  };
  const answers: (Partial<InstanceShape> & InstanceAnswer & { readonly index: number; readonly cells: readonly Refusal[] })[] =
    [];
  for (const index of indicesOf(found, surroundings.dockerEnabled)) {
    if (only !== undefined && index !== only) continue;
    const own = rows.filter((row) => row.index === index);
    if (!own.some(({ presence }) => presence === "ORDINARY")) {
      if (surroundings.dockerEnabled && index < current.instances) answers.push({ index, ...missingAnswer, cells: [] });
    }
    for (const row of own) {
      const waits = row.state === "UNCLAIMED" && surroundings.dockerEnabled;
      const refusals = waits ? await refusalsOf(row) : [];
      answers.push({ ...row, ...explainInstance({ ...surroundings, row, refusals }), cells: refusals });
    }
  }
  return answers;
}

/** Tasks that wait; what runs or has ended says so itself. */
async function taskAnswers(platform: Platform, { current }: FoundApp, surroundings: Surroundings, judge: Judge) {
  const { tables } = await platform.snapshot(["task"]);
  const waiting = tasksOfApp(tables.tasks.values(), current.annotation.app_guid).filter(({ state }) => state === "PENDING");
  if (waiting.length === 0) return [];
  const { maxTaskRetries: maxRetries } = await platform.history({ guidPrefix: current.annotation.app_guid, limit: 1 });
  const answers: (ReturnType<typeof taskShape> & Answer & { readonly cells: readonly Refusal[] })[] = [];
  for (const task of waiting) {
    const refusals = await judge.refusals({ processGuid: "", index: 0, taskGuid: task.taskGuid });
    const facts = { ...surroundings, task, refusals, maxRetries };
    answers.push({ ...taskShape(task), ...explainTask(facts), cells: refusals });
  }
  return answers;
}

/** Who can say why work waits: the active auctioneer, if there is one. */
interface Judge extends Disposable {
  readonly present: boolean;
  refusals(work: ExplainRequest): Promise<Refusal[]>;
}

async function findJudge({ out }: Context, platform: Platform): Promise<Judge> {
  let auctioneer: AuctioneerClient | undefined;
  try {
    auctioneer = await dialAuctioneer(platform);
    const bounds = { deadlineMs: askMs, signal: platform.signal };
    await unary(auctioneer.cellStates.bind(auctioneer), {}, bounds);
  } catch (error) {
    // That nobody places work is part of the explanation.
    platform.signal.throwIfAborted();
    out.note(`muster: ${explain(error).message}`);
    auctioneer?.close();
    return { present: false, refusals: async () => [], [Symbol.dispose]: () => undefined };
  }
  const client = auctioneer;
  return {
    present: true,
    refusals: async (work) => {
      const bounds = { deadlineMs: askMs, signal: platform.signal };
      return (await unary(client.explain.bind(client), work, bounds)).cells.map(verdictShape);
    },
    [Symbol.dispose]: () => client.close(),
  };
}

export interface PlanOptions {
  readonly dockerImage?: string;
  readonly instances?: string;
  readonly memory?: string;
  readonly disk?: string;
}

const defaultMemory = "256M";
const defaultDisk = "1G";

export async function plan(context: Context, options: PlanOptions): Promise<void> {
  if (options.dockerImage === undefined) throw new UsageError("which image? Give it with --docker-image REF");
  readReference(options.dockerImage);
  const instances = parseInstances(options.instances ?? "1");
  const ask = {
    processGuid: "muster-plan",
    indices: Array.from({ length: instances }, (_, index) => index),
    domain: appsDomain,
    rootFs: rootFSOfImage(options.dockerImage),
    memoryMb: parseSizeMb(options.memory ?? defaultMemory, "-m"),
    diskMb: parseSizeMb(options.disk ?? defaultDisk, "-k"),
    maxPids: 0,
    placementTags: [],
    volumeDrivers: [],
  };
  using session = openSession(context);
  const { platform } = session;
  const bounds = { deadlineMs: askMs, signal: platform.signal };
  const response = await withAuctioneer(platform, (client) => unary(client.plan.bind(client), { ask }, bounds));
  const placements = response.placements.map(({ index, cellId, placementError }) => ({
    index,
    cell_id: cellId,
    placement_error: placementError,
  }));
  const shape = { fits: placements.every((each) => each.cell_id !== ""), placements, cells: response.cells.map(verdictShape) };
  context.out.show(shape, () => {
    context.out.table(
      ["INDEX", "CELL", "DETAILS"],
      placements.map((each) => [`#${each.index}`, each.cell_id || "-", each.placement_error]),
    );
    if (shape.cells.length > 0) context.out.table(verdictHeader, shape.cells.map(verdictRow));
  });
}
