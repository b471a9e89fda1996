// What the runner needs of the world: the BBS's watch, two calls to the BBS, and every cell's own interface. The service
// fulfils it over gRPC, the simulator over a faulty network of its own.
import type { PerformRequest, PerformResponse, StateResponse } from "@muster/proto/muster/v1/rep";
import type { WatchRequest, WatchResponse } from "@muster/proto/muster/v1/watch";
import type { ActualLRPKey, CellId, TaskGuid } from "@muster/shared/model";

/** One cell. Failures are BbsErrors, as the shared rpc glue makes them. */
export interface CellIO {
  /** The cell's state: the whole first, then what changed. Ends or throws when it breaks; ends soon after the signal aborts. */
  state(signal: AbortSignal): AsyncIterable<StateResponse>;
  /** Hands over work. Must settle within `deadlineMs`. */
  perform(request: PerformRequest, deadlineMs: number, signal: AbortSignal): Promise<PerformResponse>;
  close(): void;
}

export interface LRPFailure {
  readonly key: ActualLRPKey;
  /** The modification tag that was judged, `epoch.index`: the BBS ignores the call once the row has moved on (rule P4). */
  readonly judgedTag: string;
  readonly error: string;
}

export interface TaskRejection {
  readonly taskGuid: TaskGuid;
  /** The task's commit sequence that was judged (rule P4). */
  readonly judgedSequence: string;
  readonly reason: string;
}

export interface AuctioneerIO {
  /** Opens the watch; ends or throws when it breaks. */
  watch(request: WatchRequest, signal: AbortSignal): AsyncIterable<WatchResponse>;
  /** Dials nothing by itself: calls are made on what it returns. `address` is the rep's `host:port`. */
  cell(cellId: CellId, address: string): CellIO;
  failActualLRP(failure: LRPFailure, signal: AbortSignal): Promise<void>;
  rejectTask(rejection: TaskRejection, signal: AbortSignal): Promise<void>;
}
