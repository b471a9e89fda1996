// The converger's settings.
import { bbsClientSettings, commonSettings, intSetting } from "@muster/shared/config";
import { z } from "zod";

export const convergerConfig = z.strictObject({
  ...commonSettings,
  ...bbsClientSettings,
  /** From the end of one full cycle to the begin of the next. Everything urgent happens between cycles. */
  converge_interval_ms: intSetting({ default: 30_000, min: 1_000, max: 600_000 }),
  /** How long the lock outlives its last renewal. Locket counts in seconds, so the BBS keeps it for the next whole one. */
  lock_ttl_ms: intSetting({ default: 10_000, min: 1_000, max: 300_000 }),
});

export type ConvergerConfig = Readonly<z.infer<typeof convergerConfig>>;
