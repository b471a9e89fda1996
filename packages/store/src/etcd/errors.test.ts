// Which of etcd's answers are final, and which leave the outcome unknown.
import { castGrpcError } from "etcd3";
import { expect, it } from "vitest";
import { certificateFault, needsOperator, refusalOf } from "./errors.js";

/** An error as grpc-js gives it to the library. */
const grpc = (code: number, message: string): Error => castGrpcError(Object.assign(new Error(message), { code }));

it.each([
  { code: 8, message: "etcdserver: mvcc: database space exceeded", is: "no-space" },
  { code: 3, message: "etcdserver: request is too large", is: "too-large" },
  { code: 3, message: "etcdserver: too many operations in txn request", is: "too-large" },
  { code: 8, message: "grpc: received message larger than max (2200000 vs. 2097152)", is: "too-large" },
  { code: 3, message: "etcdserver: duplicate key given in txn request", is: "other" },
  { code: 7, message: "etcdserver: permission denied", is: "other" },
  { code: 3, message: "etcdserver: authentication failed, invalid user ID or password", is: "other" },
  { code: 15, message: "etcdserver: corrupt cluster", is: "other" },
])("$message: refused, $is", ({ code, message, is }) => {
  expect(refusalOf(grpc(code, message))).toBe(is);
});

it.each([
  { code: 4, message: "Deadline exceeded after 2.001s" },
  { code: 14, message: "No connection established. Last error: connect ECONNREFUSED" },
  { code: 14, message: "etcdserver: request timed out" },
  { code: 14, message: "etcdserver: leader changed" },
  { code: 14, message: "etcdserver: server stopped" },
  { code: 8, message: "etcdserver: too many requests" },
  { code: 1, message: "Cancelled on client" },
  { code: 13, message: "Received RST_STREAM with code 2" },
  { code: 2, message: "something new" },
  { code: 16, message: "etcdserver: invalid auth token" },
])("$message: the outcome is unknown", ({ code, message }) => {
  expect(refusalOf(grpc(code, message))).toBeUndefined();
});

it("tells what a person must mend from what a person cannot", () => {
  expect(needsOperator(grpc(7, "etcdserver: permission denied"))).toBe(true);
  expect(needsOperator(grpc(8, "etcdserver: mvcc: database space exceeded"))).toBe(false);
  expect(needsOperator(grpc(14, "etcdserver: no leader"))).toBe(false);
});

it.each([
  { words: "Error: certificate has expired. Resolution note: ", whose: "theirs" },
  { words: "Error: unable to verify the first certificate. Resolution note: ", whose: "theirs" },
  { words: "Error: self-signed certificate. Resolution note: ", whose: "theirs" },
  { words: "error:0A000412:SSL routines:ssl3_read_bytes:sslv3 alert bad certificate:", whose: "ours" },
  { words: "error:0A00045C:SSL routines:ssl3_read_bytes:tlsv13 alert certificate required:", whose: "ours" },
  { words: "connect ECONNREFUSED 127.0.0.1:2379 (2026-01-01T00:00:00.000Z)", whose: undefined },
  { words: "Failed to connect", whose: undefined },
])("a connection that failed with $words is the fault of $whose certificate", ({ words, whose }) => {
  expect(certificateFault(grpc(14, `No connection established. Last error: ${words}`))?.whose).toBe(whose);
});
