// manifest.yml as `push -f` reads it: one app, the keys of Cloud Foundry that mean something for a Docker image. Pure.
import { parse } from "yaml";
import { z } from "zod";
import { UsageError } from "../exit.js";

const scalar = z.union([z.string(), z.number(), z.boolean()]);

const appSchema = z.strictObject({
  name: z.string(),
  docker: z.strictObject({ image: z.string(), username: z.string().optional() }).optional(),
  memory: z.string().optional(),
  disk_quota: z.string().optional(),
  instances: z.number().int().optional(),
  command: z.string().optional(),
  env: z.record(z.string(), z.union([scalar, z.record(z.string(), z.unknown()), z.array(z.unknown())])).optional(),
  "health-check-type": z.enum(["port", "process", "http"]).optional(),
  "health-check-http-endpoint": z.string().optional(),
  timeout: z.number().int().optional(),
});
const manifestSchema = z.object({ version: z.number().optional(), applications: z.array(appSchema).min(1) });

export type ManifestApp = Readonly<z.infer<typeof appSchema>>;

/** The app of this name, or the only one. @throws UsageError naming what is wrong in the file. */
export function readManifest(text: string, file: string, name: string | undefined): ManifestApp {
  const parsed = manifestSchema.safeParse(parseYaml(text, file));
  if (!parsed.success) {
    const faults = parsed.error.issues.map((issue) => `${issue.path.join(".") || "(top)"}: ${issue.message}`);
    throw new UsageError(`${file}: ${faults.join("; ")}`, "keys that do not apply to Docker images are refused, not passed over");
  }
  const { applications } = parsed.data;
  const app = name === undefined && applications.length === 1 ? applications[0] : applications.find((each) => each.name === name);
  if (app === undefined) {
    throw new UsageError(
      `${file} holds ${applications.map((each) => each.name).join(", ")}`,
      "say which app to push: muster push NAME",
    );
  }
  return app;
}

function parseYaml(text: string, file: string): unknown {
  try {
    return parse(text);
  } catch (cause) {
    throw new UsageError(`${file} is not YAML: ${cause instanceof Error ? cause.message.split("\n")[0] : String(cause)}`);
  }
}

/** Hashes and lists become JSON text, everything else its plain text (docker-app.md section 8). */
export const manifestEnvironment = (app: ManifestApp): Readonly<Record<string, string>> =>
  Object.fromEntries(
    Object.entries(app.env ?? {}).map(([key, value]) => [key, typeof value === "object" ? JSON.stringify(value) : String(value)]),
  );
