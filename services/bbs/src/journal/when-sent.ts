// When what was handed to a store is on its way: gRPC writes at the end of this turn of the event loop, the LMDB library begins its
// transaction in the next. One turn later the store is at work, and this thread is free to write replies (a quarter more commands/s).
export const whenSent = (run: () => void): void => {
  setImmediate(() => setImmediate(run));
};
