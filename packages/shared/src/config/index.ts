// Each service reads one JSON file into one frozen record, refuses what it does not know, and can log it with secrets masked.
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { z } from "zod";
import { OperatorError } from "../errors/index.js";

/** An integer setting with its default and bounds side by side. The name of a setting ends in its unit. */
export const intSetting = (bounds: { readonly default: number; readonly min: number; readonly max: number }) =>
  z.number().int().min(bounds.min).max(bounds.max).default(bounds.default);

/** `host:port`. */
export const addressSetting = z.string().regex(/^[^:\s]+:\d{1,5}$/, "expected host:port");

export const tlsSetting = z.strictObject({ ca_file: z.string(), cert_file: z.string(), key_file: z.string() });
export type TlsFiles = z.infer<typeof tlsSetting>;

/** What every service has. */
export const commonSettings = {
  /** Unique name of this process: `bbs-1`, `cell-1`. */
  name: z.string().min(1).max(64),
  log_level: z.enum(["debug", "info", "warn", "error"]).default("info"),
  tls: tlsSetting,
  /** Metrics and health over plain HTTP. */
  metrics_address: addressSetting,
};

/** Settings of every service that dials the BBS. */
export const bbsClientSettings = {
  bbs_addresses: z.array(addressSetting).min(1).max(16),
};

/** Reads `--config FILE`. @throws OperatorError naming every setting that is wrong. */
export function loadConfig<Schema extends z.ZodType>(
  schema: Schema,
  argv: readonly string[] = process.argv.slice(2),
): Readonly<z.infer<Schema>> {
  const { values } = parseArgs({ args: [...argv], options: { config: { type: "string" } } });
  if (values.config === undefined) throw new OperatorError("--config is missing", "start the service with --config FILE");
  return parseConfig(schema, readFileSync(values.config, "utf8"), values.config);
}

export function parseConfig<Schema extends z.ZodType>(schema: Schema, text: string, source: string): Readonly<z.infer<Schema>> {
  let raw: unknown;
  try {
    raw = JSON.parse(text);
  } catch (cause) {
    throw new OperatorError(`${source} is not JSON`, "mend the file, or let `muster up` write it anew", cause);
  }
  const parsed = schema.safeParse(raw);
  if (parsed.success) return Object.freeze(parsed.data as object) as Readonly<z.infer<Schema>>;
  const faults = parsed.error.issues.map((issue) => `${issue.path.join(".") || "(top)"}: ${issue.message}`);
  throw new OperatorError(`${source}: ${faults.join("; ")}`, "mend the named settings");
}

const secretName = /pass|secret|key$|token/i;
/** Settings that hold secrets by label, whatever the labels are. */
const secretsName = /keys$/i;

/** The settings fit for a log line: values of secret-looking names are masked, file names are kept. */
export function maskSecrets(value: unknown, name = ""): unknown {
  if (typeof value === "string") return secretName.test(name) ? "***" : value;
  if (Array.isArray(value)) return value.map((item) => maskSecrets(item, name));
  if (value !== null && typeof value === "object") {
    const inherited = secretsName.test(name) ? "secret" : undefined;
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, maskSecrets(inner, inherited ?? key)]));
  }
  return value;
}
