// Every port of a platform, from one offset. Pure.
import { UsageError } from "../exit.js";

export interface ServicePorts {
  readonly grpc: number;
  readonly metrics: number;
}

export interface PortRange {
  readonly first: number;
  readonly last: number;
}

export interface PortPlan {
  /** For BBS n (from 0): gRPC, Diego's HTTP, metrics. */
  bbs(n: number): ServicePorts & { readonly http: number };
  auctioneer(n: number): ServicePorts;
  converger(n: number): Pick<ServicePorts, "metrics">;
  rep(n: number): ServicePorts;
  readonly registry: number;
  /** Host ports that cell n (from 0) maps to its containers. */
  hostPorts(n: number): PortRange;
}

/** Above Linux's range of outgoing ports (32768 … 60999), where a connection might sit on one by chance. Diego's cells begin here too. */
const firstHostPort = 61_001;
const lastPort = 65_535;
/** 249 containers of two ports each, rounded up. Fewer when many cells share what is left below 65536. */
const hostPortsPerCell = 500;
const leastHostPorts = 20;

/**
 * The ports of design section 2, moved by the offset: BBS n HTTP 8889 + 10n, metrics 8890 + 10n, gRPC 8891 + 10n; auctioneer n
 * 9016 + 10n, metrics 9017 + 10n; converger n metrics 9117 + 10n; rep n (from 1) 1800 + n, metrics 1900 + n; demo registry 5055;
 * host ports of containers from 61001, 500 for each cell. Offsets that are multiples of 500 and
 * differ by 500 times the cells, or more, never meet.
 * @throws UsageError when the offset leaves too few host ports.
 */
export function planPorts(offset: number, cells: number): PortPlan {
  const at = (port: number): number => port + offset;
  const each = Math.min(hostPortsPerCell, Math.floor((lastPort - at(firstHostPort) + 1) / cells));
  if (each < leastHostPorts) {
    const most = lastPort - firstHostPort + 1 - leastHostPorts * cells;
    throw new UsageError(`--port-offset ${offset} leaves no host ports for ${cells} cells`, `at most ${most} is possible`);
  }
  return {
    bbs: (n) => ({ http: at(8_889 + 10 * n), metrics: at(8_890 + 10 * n), grpc: at(8_891 + 10 * n) }),
    auctioneer: (n) => ({ grpc: at(9_016 + 10 * n), metrics: at(9_017 + 10 * n) }),
    converger: (n) => ({ metrics: at(9_117 + 10 * n) }),
    rep: (n) => ({ grpc: at(1_801 + n), metrics: at(1_901 + n) }),
    registry: at(5_055),
    hostPorts: (n) => {
      const first = at(firstHostPort) + n * each;
      return { first, last: first + each - 1 };
    },
  };
}
