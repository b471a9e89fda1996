// The demo of `npm start`: an image made on the spot, and a registry to pull it from.
export { type DemoImage, type DemoImageOptions, ensureDemoImage } from "./image.js";
export { type DemoRegistry, type DemoRegistryOptions, startDemoRegistry } from "./registry.js";
