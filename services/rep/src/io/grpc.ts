// The rep's way to the BBS over gRPC; everything above it knows only these functions.
import { Metadata } from "@grpc/grpc-js";
import { BBSServiceClient } from "@muster/proto/muster/v1/bbs";
import { ReportServiceClient } from "@muster/proto/muster/v1/report";
import { WatchServiceClient } from "@muster/proto/muster/v1/watch";
import { BbsError } from "@muster/shared/errors";
import { dial, fromServiceError, serverStream, unary } from "@muster/shared/rpc";
import type { TlsMaterial } from "@muster/shared/tls";
import type { RepIO } from "../rep.js";
import type { ReportConnection } from "../report/session.js";

/** A fetch that takes longer is made again, perhaps of another BBS. */
const fetchDeadlineMs = 5_000;

function openReport(client: ReportServiceClient, signal: AbortSignal): ReportConnection {
  const call = client.report(new Metadata());
  const cancel = (): void => call.cancel();
  signal.addEventListener("abort", cancel, { once: true });
  // Errors are read off `messages`; one that comes after the reader has gone concerns nobody.
  call.on("error", () => undefined);
  async function* messages() {
    try {
      for await (const message of call) yield message;
    } catch (error) {
      throw fromServiceError(error);
    }
  }
  return {
    send: (message) => void call.write(message),
    messages: messages(),
    close: () => {
      signal.removeEventListener("abort", cancel);
      call.cancel();
    },
  };
}

/** Dials the BBS addresses, of which the first that answers is used. `close` lets the connections go. */
export function dialBBS(addresses: readonly string[], tls: TlsMaterial): { readonly io: RepIO; close(): void } {
  // A connection each: the heartbeat does not wait behind a snapshot.
  const report = dial(ReportServiceClient, addresses, tls, "bbs");
  const watch = dial(WatchServiceClient, addresses, tls, "bbs");
  const bbs = dial(BBSServiceClient, addresses, tls, "bbs");
  return {
    io: {
      openReport: (signal) => openReport(report, signal),
      openWatch: (request, signal) => serverStream(watch.watch.bind(watch), request, { signal }),
      fetchDesiredLRP: async (processGuid, signal) => {
        const bounds = { deadlineMs: fetchDeadlineMs, signal };
        const { desiredLrp } = await unary(bbs.desiredLrpByProcessGuid.bind(bbs), { processGuid }, bounds);
        if (desiredLrp === undefined) throw new BbsError("ResourceNotFound", undefined, { process_guid: processGuid });
        return desiredLrp;
      },
      fetchTask: async (taskGuid, signal) => {
        const { task } = await unary(bbs.taskByGuid.bind(bbs), { taskGuid }, { deadlineMs: fetchDeadlineMs, signal });
        if (task === undefined) throw new BbsError("ResourceNotFound", undefined, { task_guid: taskGuid });
        return task;
      },
    },
    close: () => {
      for (const client of [report, watch, bbs]) client.close();
    },
  };
}
