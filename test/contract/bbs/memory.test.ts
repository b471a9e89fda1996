// The BBS contract on the memory store.
import { memoryHome } from "../../support/bbs.js";
import { describeBbsContract } from "./contract.js";

describeBbsContract("memory", memoryHome);
