// The memory driver under the contract of all drivers, on the machine's own clock.
import { systemClock } from "@muster/shared/clock";
import { memoryStore, openMemoryStore } from "@muster/store/memory";
import { describeStoreContract } from "./contract.js";

describeStoreContract("memory", async () => {
  const store = memoryStore(systemClock);
  return {
    open: () => openMemoryStore(store),
    shared: true,
    ttlMs: 10_000,
    depose: async (name) => store.depose(name),
    [Symbol.asyncDispose]: async () => undefined,
  };
});
