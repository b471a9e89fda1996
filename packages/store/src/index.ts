// The store's interface and what its drivers share. The drivers are `@muster/store/memory`, `/lmdb` and `/etcd`.
export * from "./driver.js";
export { decodeHead, encodeHead, sameHead } from "./head.js";
export { maxBatchBytes, maxBatchWrites, maxKeyBytes } from "./limits.js";
