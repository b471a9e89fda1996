// Containers: one interface, two drivers.
export * from "./garden.js";
