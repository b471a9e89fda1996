// Backups, as the BBS sends them, the command line writes them and a restore reads them.
export { BackupCheck, type BackupFacts } from "./check.js";
export { readBackup, writeBackup } from "./file.js";
export { BackupDigest, byKey } from "./format.js";
