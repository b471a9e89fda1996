// Work that many want at once: shared by all who ask for the same, or taken in turn.
export { SingleFlight } from "./single-flight.js";
export { Turns, Turnstile } from "./turnstile.js";
