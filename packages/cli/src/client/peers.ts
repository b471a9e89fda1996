// Reaching the auctioneer and the reps: their addresses are in the lock's value and in the presences (design section 2).
import type { CellPresence } from "@muster/proto/models/cells";
import { AuctioneerServiceClient } from "@muster/proto/muster/v1/auctioneer";
import { RepServiceClient } from "@muster/proto/muster/v1/rep";
import { dial } from "@muster/shared/rpc";
import { RefusedError, UnreachableError } from "../exit.js";
import type { Platform } from "./platform.js";

/** `host:port` of what may be a URL, a bare address or a lock's JSON value with an `address`. `undefined` when it holds none. */
export function addressIn(value: string): string | undefined {
  const json = /^\s*\{/.test(value) ? addressField(value) : value;
  const match = /^(?:[a-z]+:\/\/)?([^/\s:]+:[0-9]{1,5})\/?$/.exec(json ?? "");
  return match?.[1];
}

function addressField(text: string): string | undefined {
  try {
    const value: unknown = JSON.parse(text);
    const address = (value as { address?: unknown }).address;
    return typeof address === "string" ? address : undefined;
  } catch {
    return undefined;
  }
}

export type AuctioneerClient = InstanceType<typeof AuctioneerServiceClient>;
export type RepClient = InstanceType<typeof RepServiceClient>;

/** The key of a role's lock, as its service takes it. */
export const lockKeys = { auctioneer: "auctioneer", converger: "converger" } as const;

/** Dials the auctioneer that holds the lock; close it after use. @throws UnreachableError when none holds it. */
export async function dialAuctioneer(platform: Platform): Promise<AuctioneerClient> {
  const lock = (await platform.locks()).find((resource) => resource.key === lockKeys.auctioneer);
  const address = addressIn(lock?.value ?? "");
  if (address === undefined) throw new UnreachableError("no auctioneer is active", "see `muster status`");
  return dial(AuctioneerServiceClient, [address], platform.tls, "auctioneer");
}

/** The rep's address as its presence tells it. */
export const repAddressOf = (presence: Pick<CellPresence, "repAddress" | "repUrl">): string =>
  addressIn(presence.repAddress) ?? addressIn(presence.repUrl) ?? "";

/** The rep of this very cell: whoever else answers there is not talked to. */
export const dialRep = (platform: Platform, cell: { readonly cellId: string; readonly address: string }): RepClient =>
  dial(RepServiceClient, [cell.address], platform.tls, `cell:${cell.cellId}`);

/** A live cell's rep. @throws RefusedError when no live cell has this id. */
export async function dialCell(platform: Platform, cellId: string): Promise<RepClient> {
  const presence = (await platform.cells()).find((cell) => cell.cellId === cellId);
  if (presence === undefined) throw new RefusedError(`cell ${cellId} not found among the live cells`, "see `muster cells`");
  return dialRep(platform, { cellId, address: repAddressOf(presence) });
}
