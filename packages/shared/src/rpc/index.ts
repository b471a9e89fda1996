// gRPC glue: dialling, serving, errors. Everything is mutual TLS.
export * from "./client.js";
export { type ConnectionRefusal, connectionRefusals, type DoorOptions } from "./door.js";
export * from "./errors.js";
export { decodeRequest, type RequestCodec, Undecodable } from "./guard.js";
export * from "./server.js";
