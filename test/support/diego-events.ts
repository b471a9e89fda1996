// A reader of Diego's event streams, strict about every byte of the framing, that knows no generated code.
import type { IncomingMessage } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import type { HttpDoor } from "./diego-client.js";
import { decode, encode, type Message } from "./diego-codec.js";
import { eventMessages, routeNamed } from "./diego-routes.js";

export interface StreamEvent {
  readonly name: string;
  readonly message: Message;
  readonly bytes: Buffer;
}

export class EventStream implements Disposable {
  readonly events: StreamEvent[] = [];
  readonly response: IncomingMessage;
  /** Whether the server ended the stream in an orderly way; set once it is over. */
  ended: "whole" | "cut" | undefined;
  #rest = "";
  #fault: Error | undefined;

  constructor(response: IncomingMessage) {
    this.response = response;
    response.setEncoding("utf8");
    response.on("data", (text: string) => this.#take(text));
    response.on("end", () => {
      this.ended ??= response.complete ? "whole" : "cut";
    });
    response.on("error", () => {
      this.ended ??= "cut";
    });
  }

  #take(text: string): void {
    this.#rest += text;
    try {
      for (let end = this.#rest.indexOf("\n\n"); end >= 0; end = this.#rest.indexOf("\n\n")) {
        this.events.push(parseEvent(this.#rest.slice(0, end), this.events.length));
        this.#rest = this.#rest.slice(end + 2);
      }
    } catch (error) {
      this.#fault ??= error as Error;
    }
  }

  /** Resolves once an event fits, counted from `from` on. @throws when none comes in time, or the framing is wrong */
  async until(what: string, fits: (event: StreamEvent) => boolean, from = 0, withinMs = 10_000): Promise<number> {
    let seen = from;
    for (const deadline = performance.now() + withinMs; performance.now() < deadline; await sleep(5)) {
      if (this.#fault !== undefined) throw this.#fault;
      for (; seen < this.events.length; seen += 1) if (fits(this.events[seen] as StreamEvent)) return seen;
      if (this.ended !== undefined) throw new Error(`the stream ended before ${what}`);
    }
    throw new Error(`waited ${withinMs} ms in vain for ${what}`);
  }

  [Symbol.dispose](): void {
    this.response.destroy();
  }
}

/** One event: exactly three lines. @throws for anything else, a wrong number, or an event nobody has heard of */
function parseEvent(block: string, number: number): StreamEvent {
  const found = /^id: (\d+)\nevent: (\w+)\ndata: ([A-Za-z0-9+/]+={0,2})$/.exec(block);
  if (found === null) throw new Error(`this is no event: ${JSON.stringify(block)}`);
  const [, id, name = "", data = ""] = found;
  if (id !== String(number)) throw new Error(`event ${number} of the connection is numbered ${id}`);
  const bytes = Buffer.from(data, "base64");
  if (bytes.toString("base64") !== data) throw new Error(`not padded base64: ${data}`);
  const type = eventMessages[name];
  if (type === undefined) throw new Error(`no event is called ${name}`);
  return { name, message: decode(type, bytes), bytes };
}

/** Opens a stream by its route name; resolves when its head has come. */
export async function openEvents(
  door: HttpDoor,
  name: string,
  cellId = "",
  headers: Record<string, string> = {},
): Promise<EventStream> {
  const route = routeNamed(name);
  const body = encode("EventsByCellId", cellId === "" ? {} : { cell_id: cellId });
  const response = await door.open(route.method, route.path, body, { headers });
  if (response.statusCode !== 200) {
    response.resume();
    throw new Error(`${route.path} answered ${response.statusCode}`);
  }
  return new EventStream(response);
}
