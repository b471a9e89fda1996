// Small states for tests of the core: one process, a few rows, a fixed clock and numbered guids.
import {
  type ActualLRP,
  asCellId,
  asDomainName,
  asEpochMs,
  asInstanceGuid,
  asProcessGuid,
  type DesiredLRP,
  put,
  Tables,
  type Write,
} from "@muster/shared/model";
import { desiredLRP, actualLRP as row, t0 } from "@muster/shared/testing";
import type { Command, CoreState, DecisionContext } from "./decision.js";

export const processGuid = asProcessGuid("p");
export const domain = asDomainName("d");
export const key = { processGuid, index: 0, domain };
export const instance = (guid: string, cell: string) => ({ instanceGuid: asInstanceGuid(guid), cellId: asCellId(cell) });
export const netInfo = {
  address: "127.0.0.1",
  ports: [{ containerPort: 8080, hostPort: 61001, containerTlsProxyPort: 0, hostTlsProxyPort: 0 }],
  instanceAddress: "10.0.0.2",
  instanceIpv6Address: "",
  preferredAddress: "HOST" as const,
};

export { desiredLRP, row, t0 };

export const running = (guid: string, cell: string, fields: Partial<ActualLRP> = {}): ActualLRP =>
  row({ state: "RUNNING", instanceKey: instance(guid, cell), netInfo, routable: true, ...fields });
export const claimed = (guid: string, cell: string, fields: Partial<ActualLRP> = {}): ActualLRP =>
  row({ state: "CLAIMED", instanceKey: instance(guid, cell), ...fields });

export function stateWith(...writes: Write[]): CoreState {
  const tables = new Tables();
  tables.applyAll(writes);
  return { tables, graceUntilMs: asEpochMs(0), leaderSinceMs: asEpochMs(0) };
}

export const desired = (fields: Partial<DesiredLRP> = {}): Write => put("desiredLRP", desiredLRP(fields));
export const fresh: Write = put("domain", { name: domain, expiresAtMs: undefined });
export const rows = (...all: ActualLRP[]): Write[] => all.map((one) => put("actualLRP", one));

export function contextAt(nowMs = t0): DecisionContext {
  let guids = 0;
  return {
    nowMs,
    sequence: 7n,
    guid: () => {
      guids += 1;
      return `guid-${guids}`;
    },
    seal: (plain) => plain,
    open: (sealed) => sealed,
  };
}

/** Decides and applies; returns the rows of index 0 as short words (`ORDINARY RUNNING a@cell-1 stop`). */
export function run<Reply>(state: CoreState, command: Command<Reply>, nowMs = t0): Reply {
  const decision = command(state, contextAt(nowMs));
  state.tables.applyAll(decision.writes);
  return decision.reply;
}

export function rowsAsWords(state: CoreState, index = 0): string[] {
  const found = state.tables.rows(processGuid, index);
  return [found.ORDINARY, found.EVACUATING, found.SUSPECT].flatMap((one) =>
    one === undefined
      ? []
      : [
          [
            one.presence,
            one.state,
            ...(one.instanceKey === undefined ? [] : [`${one.instanceKey.instanceGuid}@${one.instanceKey.cellId}`]),
            ...(one.stopMarked ? ["stop"] : []),
          ].join(" "),
        ],
  );
}
