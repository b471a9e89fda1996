// How long the BBS took over what it does to its records at its start; Diego's names.
import { Gauge, type Registry } from "@muster/shared/metrics";

export interface LifecycleMetrics {
  migrated(durationMs: number): void;
  sealedAnew(durationMs: number): void;
}

export function lifecycleMetrics(registry: Registry): LifecycleMetrics {
  const registers = [registry];
  const migration = new Gauge({
    name: "bbs_migration_duration_seconds",
    help: "How long the last migration of the stored records took; 0 when none was needed since the start.",
    registers,
  });
  const encryption = new Gauge({
    name: "bbs_encryption_duration_seconds",
    help: "How long sealing everything anew under the active key took; 0 when nothing was to do, or while it goes on.",
    registers,
  });
  return {
    migrated: (durationMs) => migration.set(durationMs / 1000),
    sealedAnew: (durationMs) => encryption.set(durationMs / 1000),
  };
}
