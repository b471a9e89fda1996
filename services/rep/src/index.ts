// The cell's logic for whoever wires services together: the `muster-rep` process, the simulator, tests.
export { type ContainerStore, memoryContainerStore } from "./data/store.js";
export { checkGarden } from "./garden-check.js";
export { dialBBS } from "./io/grpc.js";
export { LogHub, type LogLine } from "./logs/hub.js";
export { Rep, type RepIO, type RepObserver, type RepOptions, type RepSettings } from "./rep.js";
export type { ReportConnection } from "./report/session.js";
export { serveRep } from "./server.js";
