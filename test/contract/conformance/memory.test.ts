// Conformance on the memory store.
import { memoryHome } from "../../support/bbs.js";
import { describeConformance } from "./conformance.js";

describeConformance("memory", memoryHome);
