import { memoryHome } from "../../support/bbs.js";
import { describeBbsContract } from "./contract.js";

describeBbsContract("memory", memoryHome);
