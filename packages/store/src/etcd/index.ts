// The cluster driver: records, head and leadership in etcd 3.4 or newer, through the `etcd3` package.
export { openEtcdStore } from "./driver.js";
export { type EtcdStoreOptions, type EtcdTiming, etcdTiming } from "./options.js";
