// Real containers on this machine, with runc.
import { networkNames } from "../network/plan.js";
import { cellLayout, resolvedHome } from "./layout.js";

export { openRuncGarden, type RuncGarden, type RuncGardenOptions } from "./garden.js";
/** For `up`, which looks before it starts anything. */
export { findTools, type Tools } from "./tools.js";
export type { LocalVolume, VolumeDriver } from "./volumes.js";

/** Under which names a cell's containers are found on the machine, for operators and for proofs that nothing is left. */
export function namesOnMachine(home: string, cellId: string) {
  const real = resolvedHome(home);
  const { runDir, dataDir, cgroupParent } = cellLayout(real, cellId);
  const { bridge, netnsPrefix, key } = networkNames(real, cellId);
  return { runDir, dataDir, cgroupParent, bridge, netnsPrefix, chainPrefix: `MUSTER-${key}-` };
}
