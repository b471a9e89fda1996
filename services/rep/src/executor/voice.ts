// What is said about and by a container: the cell's own lines, a check's, and the app's, of which it may not say too much.
import type { Clock } from "@muster/shared/clock";
import type { LogHub, LogStreamName } from "../logs/hub.js";
import { type ContainerRecord, defaultLogSource, exceededText, LogLimiter } from "../plan/index.js";
import type { Registry } from "../registry.js";
import type { StepHost } from "./steps.js";

export interface VoiceOptions {
  readonly clock: Clock;
  readonly registry: Registry;
  readonly logs: LogHub;
}

export class Voice {
  readonly #options: VoiceOptions;

  constructor(options: VoiceOptions) {
    this.#options = options;
  }

  /** The cell's own words, under the source the container's owner chose. */
  say(record: ContainerRecord, text: string, stream: LogStreamName = "stdout"): void {
    const source = this.#options.registry.get(record.instanceGuid)?.startInfo?.logSource ?? defaultLogSource;
    this.sayAs(record, source, text, stream);
  }

  /** As `say`, under another source; an empty one is the owner's. */
  sayAs(record: ContainerRecord, source: string, text: string, stream: LogStreamName): void {
    if (source === "") this.say(record, text, stream);
    else this.#options.logs.say(record.key, record.instanceGuid, source, text, stream);
  }

  /** What checks have found out, under the source their definition chose. */
  sayHealth(record: ContainerRecord, text: string, stream: LogStreamName = "stderr"): void {
    this.sayAs(record, record.startInfo?.healthSource || "HEALTH", text, stream);
  }

  /** What the app says, as much of it as it may; the cell's own lines are not limited. */
  limitedLog(record: ContainerRecord): StepHost["log"] {
    const { clock, logs } = this.#options;
    const bytesPerSecond = record.startInfo?.logBytesPerSecond ?? -1;
    const limiter = new LogLimiter(bytesPerSecond);
    return (source, stream, line, atMs) => {
      const fate = limiter.take(line.length, atMs ?? clock.nowMs());
      if (fate === "drop") return;
      const text = fate === "pass" ? line : Buffer.from(exceededText(bytesPerSecond));
      logs.append(record.key, record.instanceGuid, source, fate === "pass" ? stream : "stdout", text, atMs);
    };
  }
}
