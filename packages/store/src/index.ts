// Durable records: one small interface, three drivers, one contract.
export * from "./driver.js";
