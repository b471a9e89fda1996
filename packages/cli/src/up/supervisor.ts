// All service processes of a platform: started together, started again when they end, stopped in order.
import path from "node:path";
import type { Clock } from "@muster/shared/clock";
import { writeServicesFile } from "../services-file.js";
import { type ChildEnd, type SupervisedChild, superviseChild } from "./child.js";
import type { Home } from "./home.js";
import { rotateLogFile } from "./log-files.js";
import { recordOf, type ServicePlan } from "./service-plan.js";

export interface SupervisorOptions {
  readonly home: Pick<Home, "config" | "logs" | "servicesFile">;
  readonly plans: readonly ServicePlan[];
  /** The built program of a role. */
  readonly programOf: (role: ServicePlan["role"]) => string;
  readonly clock: Clock;
  readonly onEnd: (name: string, end: ChildEnd) => void;
}

/** A service gives itself 20 s to end in an orderly way. */
const stopGraceMs = 25_000;
const rotateEveryMs = 5_000;

export const configFileOf = (home: Pick<Home, "config">, name: string): string => path.join(home.config, `${name}.json`);
export const logFileOf = (home: Pick<Home, "logs">, name: string): string => path.join(home.logs, `${name}.log`);

export class Supervisor {
  readonly #options: SupervisorOptions;
  readonly #children = new Map<string, SupervisedChild>();
  #cancelRotation = (): void => undefined;

  constructor(options: SupervisorOptions) {
    this.#options = options;
  }

  /** Starts the processes of these roles. Each finds the others by itself and waits for those it needs. */
  start(...roles: readonly ServicePlan["role"][]): void {
    const { home, plans, programOf, clock, onEnd } = this.#options;
    for (const plan of plans.filter((each) => roles.includes(each.role))) {
      const spec = {
        name: plan.name,
        program: process.execPath,
        args: [programOf(plan.role), "--config", configFileOf(home, plan.name)],
        logFile: logFileOf(home, plan.name),
      };
      const child = superviseChild(spec, {
        clock,
        onStart: () => this.#record(),
        onEnd: (end) => {
          this.#record();
          onEnd(plan.name, end);
        },
      });
      this.#children.set(plan.name, child);
    }
    this.#record();
    this.#cancelRotation();
    this.#rotate();
  }

  /** Stops the processes of these roles together; resolves once all of them are gone. */
  async stop(...roles: readonly ServicePlan["role"][]): Promise<void> {
    const chosen = this.#options.plans.filter((plan) => roles.includes(plan.role));
    await Promise.all(chosen.map((plan) => this.#children.get(plan.name)?.stop(stopGraceMs)));
  }

  /** Without grace; containers stay until the next `up`. */
  kill(): void {
    for (const child of this.#children.values()) child.kill();
  }

  /** Ends the upkeep of log files; the processes must be stopped by then. */
  close(): void {
    this.#cancelRotation();
  }

  #record(): void {
    const { home, plans } = this.#options;
    const services = plans.map((plan) => recordOf(plan, this.#children.get(plan.name)?.pid()));
    writeServicesFile(home.servicesFile, { supervisor_pid: process.pid, services });
  }

  #rotate(): void {
    const { home, plans, clock } = this.#options;
    for (const plan of plans) rotateLogFile(logFileOf(home, plan.name));
    this.#cancelRotation = clock.after(rotateEveryMs, () => this.#rotate());
  }
}
