// The health protocol of gRPC (`grpc.health.v1.Health`) on every gRPC port, for load balancers and orchestrators. It asks for a
// certificate with a role like every call, whichever role that is.
import type {
  handleServerStreamingCall,
  handleUnaryCall,
  Server,
  ServerWritableStream,
  ServiceDefinition,
  UntypedServiceImplementation,
} from "@grpc/grpc-js";
import { HealthImplementation } from "grpc-health-check";
import { toServiceError } from "./errors.js";

export interface HealthService {
  /** What the empty service name answers from now on; watchers hear of a change. */
  setServing(serving: boolean): void;
  /** Ends the watches, which would otherwise hold up an orderly end. */
  end(): void;
}

type Call = Parameters<handleUnaryCall<unknown, unknown>>[0];
type WatchCall = ServerWritableStream<unknown, unknown>;
type Unary = handleUnaryCall<unknown, unknown>;
type Streaming = handleServerStreamingCall<unknown, unknown>;

/** Adds the service, SERVING at first. `requirePeer` throws for a certificate without a role. */
export function addHealth(server: Server, requirePeer: (call: Pick<Call, "getAuthContext">) => unknown): HealthService {
  const health = new HealthImplementation({ "": "SERVING" });
  const watches = new Set<WatchCall>();
  let serving = true;
  const checked =
    (handle: Unary): Unary =>
    (call, callback) => {
      try {
        requirePeer(call);
      } catch (error) {
        callback(toServiceError(error));
        return;
      }
      handle(call, callback);
    };
  const tracked =
    (handle: Streaming): Streaming =>
    (call) => {
      try {
        requirePeer(call as unknown as Call);
      } catch (error) {
        call.emit("error", toServiceError(error));
        return;
      }
      watches.add(call);
      call.on("cancelled", () => watches.delete(call));
      handle(call);
    };
  // The library binds its handlers to whatever has `addService`: so each gets its caller looked at first.
  const door = {
    addService: (definition: unknown, handlers: unknown): void => {
      const { check, list, watch } = handlers as { readonly check: Unary; readonly list: Unary; readonly watch: Streaming };
      const guarded: UntypedServiceImplementation = { check: checked(check), list: checked(list), watch: tracked(watch) };
      server.addService(definition as ServiceDefinition, guarded);
    },
  };
  health.addToServer(door);
  return {
    setServing: (now) => {
      if (now === serving) return;
      serving = now;
      health.setStatus("", now ? "SERVING" : "NOT_SERVING");
    },
    end: () => {
      for (const call of watches) call.end();
      watches.clear();
    },
  };
}
