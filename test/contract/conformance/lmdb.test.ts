// Conformance on LMDB.
import { lmdbHome } from "../../support/bbs.js";
import { describeConformance } from "./conformance.js";

describeConformance("lmdb", lmdbHome, ["http"]);
