// The BBS contract on LMDB.
import { lmdbHome } from "../../support/bbs.js";
import { describeBbsContract } from "./contract.js";

describeBbsContract("lmdb", lmdbHome);
