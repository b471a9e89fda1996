// Time and chance come in through the door: everything that needs them takes these interfaces.
export { type FakeClock, fakeClock, seededEntropy } from "./fake.js";
export { systemClock, systemEntropy } from "./system.js";
export type { Clock, Entropy } from "./types.js";
