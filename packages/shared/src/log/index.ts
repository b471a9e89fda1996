// Logs: one JSON object a line on stderr. A message is constant and lower-case; what varies is a field named here.
import { type Logger, pino } from "pino";

export type Log = Logger;

/** The field names in use; Diego spells some of them three ways, we spell them once. */
export interface LogFields {
  component?: string;
  trace_id?: string;
  process_guid?: string;
  instance_guid?: string;
  index?: number;
  task_guid?: string;
  cell_id?: string;
  domain?: string;
  zone?: string;
  revision?: string;
  step?: string;
  reason?: string;
  attempt?: number;
  retry_ms?: number;
  duration_ms?: number;
  err?: unknown;
}

export type LogLevel = "debug" | "info" | "warn" | "error" | "silent";

/** The root logger of a service; writes synchronously to stderr so that the last words of a dying process are kept. */
export const createLog = (service: string, level: LogLevel = "info"): Log =>
  pino(
    { level, base: { service, pid: process.pid }, timestamp: pino.stdTimeFunctions.isoTime },
    pino.destination({ fd: 2, sync: true }),
  );

/** For tests and the simulator. */
export const silentLog = (): Log => pino({ level: "silent" });
