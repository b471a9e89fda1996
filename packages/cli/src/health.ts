// Asking a service how it is, on its plain HTTP port beside its metrics.
import { get } from "node:http";
import type { Clock } from "@muster/shared/clock";
import { z } from "zod";

const schema = z.object({ ok: z.boolean(), state: z.string(), detail: z.string().optional() });
export type ServiceHealth = z.infer<typeof schema>;

/** A service on the same machine answers within milliseconds, or it hangs. */
const answerMs = 2_000;
const mostBytes = 16_384;

/** `undefined` when nobody answers, or with something that is no health. */
export function readHealth(address: string, clock: Clock): Promise<ServiceHealth | undefined> {
  return new Promise((resolve) => {
    const request = get(`http://${address}/health`, { agent: false }, (response) => {
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (chunk: string) => {
        text += chunk;
        if (text.length > mostBytes) request.destroy();
      });
      response.on("end", () => done(parseHealth(text)));
      response.on("error", () => done(undefined));
    });
    const cancel = clock.after(answerMs, () => request.destroy());
    const done = (health: ServiceHealth | undefined): void => {
      cancel();
      resolve(health);
    };
    request.on("error", () => done(undefined));
    request.on("close", () => done(undefined));
  });
}

function parseHealth(text: string): ServiceHealth | undefined {
  try {
    return schema.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}
