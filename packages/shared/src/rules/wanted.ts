// What is wanted, and what is fresh: the two questions every rule and call asks (races.md W1).
import {
  type ClusterView,
  type DesiredLRP,
  type DomainName,
  type EpochMs,
  type FeatureFlagName,
  featureFlagDefaults,
} from "../model/index.js";

/** Whether a rootfs is a Docker image: its URL has the scheme `docker`. */
export const isDockerRootFs = (rootFs: string): boolean => rootFs.toLowerCase().startsWith("docker:");

export const flagEnabled = (view: Pick<ClusterView, "flag">, name: FeatureFlagName): boolean =>
  view.flag(name) ?? featureFlagDefaults[name];

/** Whether the `diego_docker` flag, being off, keeps this LRP from having instances. */
export const stoppedByFlag = (view: Pick<ClusterView, "flag">, desired: DesiredLRP): boolean =>
  !flagEnabled(view, "diego_docker") && isDockerRootFs(desired.rootFs);

/** How many instances are wanted: the one function used by every call and rule that creates, restarts, claims or starts. */
export const wantedInstances = (view: Pick<ClusterView, "flag">, desired: DesiredLRP): number =>
  stoppedByFlag(view, desired) ? 0 : desired.instances;

/** Whether this index should have an instance; false for a process nobody desires. */
export const isWanted = (view: Pick<ClusterView, "flag">, desired: DesiredLRP | undefined, index: number): boolean =>
  desired !== undefined && index < wantedInstances(view, desired);

/** Whether somebody vouches for this domain now. Shape: absent is stale; `expiresAtMs` undefined never expires. */
export function domainFresh(view: Pick<ClusterView, "domain">, name: DomainName, nowMs: EpochMs): boolean {
  const domain = view.domain(name);
  return domain !== undefined && (domain.expiresAtMs === undefined || domain.expiresAtMs > nowMs);
}
