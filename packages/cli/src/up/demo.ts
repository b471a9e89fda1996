// The demo of `npm start`: a registry that holds a small image, and an app of two instances made of it.
import type { Clock, Entropy } from "@muster/shared/clock";
import { defaultSettings } from "../apps/desired.js";
import { isDockerEnabled } from "../apps/docker-flag.js";
import { findApp, readSettledApps } from "../apps/records.js";
import { instanceShape } from "../apps/shapes.js";
import { byName } from "../apps/versions.js";
import { waitRunning } from "../apps/wait.js";
import type { Context, Session } from "../context.js";
import { type DemoRegistry, ensureDemoImage, startDemoRegistry } from "../demo/index.js";
import { WaitedInVainError } from "../exit.js";
import { makeVersion } from "../verbs/push.js";
import type { Home } from "./home.js";

const appName = "demo";
const instances = 2;
const memoryMb = 64;
const diskMb = 64;
const runningMs = 120_000;
const restartMs = 1_000;

/** The registry, started again when it ends. */
export interface KeptRegistry {
  readonly address: string;
  stop(): Promise<void>;
}

export async function keepRegistry(home: Home, port: number, clock: Clock, entropy: Entropy): Promise<KeptRegistry> {
  const ended = new AbortController();
  const start = (): Promise<DemoRegistry> =>
    startDemoRegistry({ dir: home.registry, port, clock, entropy, signal: ended.signal });
  let current = await start();
  const keep = async (): Promise<void> => {
    while (!ended.signal.aborted) {
      await current.exited;
      while (!ended.signal.aborted) {
        await clock.sleep(restartMs, ended.signal).catch(() => undefined);
        const next = await start().catch(() => undefined);
        if (next === undefined) continue;
        current = next;
        break;
      }
    }
  };
  const kept = keep();
  return {
    address: current.address,
    stop: async () => {
      ended.abort();
      await current.stop();
      await kept;
    },
  };
}

/** Pushes the demo app where it is missing, and waits until it answers. @returns where each instance answers. */
export async function runDemo(context: Context, session: Session, home: Home, registry: string): Promise<readonly string[]> {
  const { platform } = session;
  const { clock, signal, out } = context;
  const { reference } = await ensureDemoImage({ dir: home.run, registry, clock, signal });
  if (!(await isDockerEnabled(platform))) {
    out.line("The demo app does not run: the feature flag diego_docker is off.");
    return [];
  }
  const known = byName((await readSettledApps(platform)).versions).has(appName);
  if (!known) {
    out.line(`pushing the demo app from ${reference} …`);
    const settings = { ...defaultSettings, instances, memoryMb, diskMb };
    await makeVersion(context, session, {
      name: appName,
      image: reference,
      settings,
      existing: undefined,
      start: true,
      wait: true,
    });
  }
  return waitAnswering(session, signal);
}

async function waitAnswering({ platform }: Session, signal: AbortSignal): Promise<readonly string[]> {
  const { current } = await findApp(platform, appName);
  if (current.annotation.requested_state === "STOPPED") return [];
  const { processGuid } = current;
  const outcome = await waitRunning(platform, { processGuid, instances: current.instances, timeoutMs: runningMs });
  if (!outcome.ok) throw new WaitedInVainError(`the demo app does not run: ${outcome.why}`, "see `./muster logs demo --recent`");
  const rows = await platform.actualLRPs({ processGuid });
  const urls = rows
    .filter((row) => row.state === "RUNNING")
    .map((row) => instanceShape(row, new Map()))
    .sort((a, b) => a.index - b.index)
    .flatMap((shape) => shape.ports.slice(0, 1).map((port) => `http://${shape.address}:${port.host_port}/`));
  signal.throwIfAborted();
  return urls;
}
