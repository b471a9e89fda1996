// The feature flag that guards Docker apps, asked before work that it would make useless.
import type { Platform } from "../client/platform.js";
import { RefusedError } from "../exit.js";

export const dockerFlag = "diego_docker";

export const isDockerEnabled = async (platform: Platform): Promise<boolean> =>
  (await platform.featureFlags()).some(({ name, enabled }) => name === dockerFlag && enabled);

/** So that a push or start that cannot succeed says so at once; the BBS is the judge all the same. @throws RefusedError */
export async function requireDocker(platform: Platform): Promise<void> {
  if (await isDockerEnabled(platform)) return;
  throw new RefusedError(
    `refused, FeatureDisabled: feature disabled: ${dockerFlag}`,
    `Docker apps are off on this platform; turn them on with: muster enable-feature-flag ${dockerFlag}`,
  );
}
