// The links to all live cells, kept from the presences on the mirror.
import type { Cell, CellId, Change, ClusterView } from "@muster/shared/model";
import { isLive } from "@muster/shared/rules";
import type { CellState } from "../plan/index.js";
import type { CellLink } from "./cell-link.js";

export interface FleetOptions {
  readonly view: Pick<ClusterView, "cell">;
  /** Makes a link, which the fleet runs and closes. */
  readonly open: (presence: Cell) => CellLink;
  /** The presence is gone: what was in flight there is lost. */
  readonly onGone: (cellId: CellId) => void;
  /** A cell's offer changed without its stream saying so. */
  readonly onRoom: () => void;
}

/** A new cell may take so long to tell its state before auctions go on without it. */
const joinGraceMs = 1_000;

export class Fleet {
  readonly #options: FleetOptions;
  readonly #links = new Map<CellId, CellLink>();
  readonly #running = new Set<Promise<void>>();

  constructor(options: FleetOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#links.size;
  }

  link(cellId: CellId): CellLink | undefined {
    return this.#links.get(cellId);
  }

  links(): Iterable<CellLink> {
    return this.#links.values();
  }

  apply(changes: readonly Change[]): void {
    for (const change of changes) if (change.kind === "cell") this.#lookAt(change.key as CellId);
  }

  states(): CellState[] {
    return [...this.#links.values()].map((link) => link.state());
  }

  /** When the last cell that has just joined should have told its state; `undefined` when no such cell is waited for. */
  joiningUntilMs(nowMs: number): number | undefined {
    let until: number | undefined;
    for (const link of this.#links.values()) {
      const graceEndsMs = link.openedAtMs + joinGraceMs;
      if (!link.heard && nowMs < graceEndsMs) until = Math.max(until ?? 0, graceEndsMs);
    }
    return until;
  }

  /** Looks at every link for silence and old reservations; returns how many cells fell silent since the last look. */
  look(nowMs: number): number {
    let fell = 0;
    for (const link of this.#links.values()) {
      if (link.look()) fell += 1;
      if (link.picture.sweep(nowMs)) this.#options.onRoom();
    }
    return fell;
  }

  /** Closes every link and waits for their ends. */
  async close(): Promise<void> {
    for (const cellId of [...this.#links.keys()]) this.#close(cellId);
    await Promise.all(this.#running);
  }

  #lookAt(cellId: CellId): void {
    const presence = this.#options.view.cell(cellId);
    const known = this.#links.get(cellId);
    if (presence === undefined || !isLive(presence)) {
      if (known !== undefined) this.#close(cellId);
      return;
    }
    if (known !== undefined && repAddressOf(known.presence) === repAddressOf(presence)) {
      known.presence = presence;
      this.#options.onRoom();
      return;
    }
    if (known !== undefined) this.#close(cellId);
    const link = this.#options.open(presence);
    this.#links.set(cellId, link);
    const running = link.run().finally(() => this.#running.delete(running));
    this.#running.add(running);
  }

  #close(cellId: CellId): void {
    const link = this.#links.get(cellId);
    this.#links.delete(cellId);
    this.#options.onGone(cellId);
    link?.close();
  }
}

/** `host:port` of the rep. */
export const repAddressOf = (presence: Pick<Cell, "repAddress" | "repUrl">): string =>
  presence.repAddress !== "" ? presence.repAddress : presence.repUrl.replace(/^[a-z]+:\/\//, "").replace(/\/.*$/, "");
