// The impure half of the auctioneer, over interfaces: the service wires it to gRPC, the simulator to a faulty network.
export type { AuctioneerIO, CellIO, LRPFailure, TaskRejection } from "./io.js";
export { AuctionRunner, defaultRunnerSettings, type RunnerOptions, type RunnerSettings } from "./runner.js";
