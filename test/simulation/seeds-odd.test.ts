// The whole house on a fake clock: hurt for two simulated minutes by every fault at once, then left to heal. The odd seeds.
import { describeSeeds } from "./seeds.js";

// Few runs scale beyond a hundred instances at once.
describeSeeds(1, ["continuation"]);
