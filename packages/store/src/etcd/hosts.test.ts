// One endpoint at a time: when calls pass, and when the next one is taken.
import { GRPCInvalidArgumentError, GRPCUnavailableError } from "etcd3";
import { expect, it } from "vitest";
import { NotThisHost, StickyHosts } from "./hosts.js";

const setup = () => {
  const hosts = new StickyHosts(["a", "b", "c"]);
  const policyOf = hosts.faultHandling.host;
  const call = (host: string, error?: Error): Promise<string> =>
    Promise.resolve(
      policyOf?.(host).execute(() => {
        if (error !== undefined) throw error;
        return host;
      }) ?? "no policy",
    );
  return { hosts, call };
};

it("lets calls through to one endpoint only", async () => {
  const { call } = setup();
  expect(await call("a")).toBe("a");
  await expect(call("b")).rejects.toBeInstanceOf(NotThisHost);
});

it("moves on when the endpoint fails, round and round", async () => {
  const { hosts, call } = setup();
  for (const [failing, next] of ["ab", "bc", "ca"].map((pair) => [...pair] as [string, string])) {
    await expect(call(failing, new GRPCUnavailableError("away"))).rejects.toThrow("away");
    expect(hosts.current).toBe(next);
    expect(await call(next)).toBe(next);
  }
});

it("stays when the endpoint refuses what was asked: another would say the same", async () => {
  const { hosts, call } = setup();
  await expect(call("a", new GRPCInvalidArgumentError("no"))).rejects.toThrow("no");
  expect(hosts.current).toBe("a");
});

it("moves on once for many calls that failed at the same endpoint", async () => {
  const { hosts, call } = setup();
  const failing = [1, 2, 3].map(() => call("a", new GRPCUnavailableError("away")));
  await Promise.allSettled(failing);
  hosts.leave("a");
  expect(hosts.current).toBe("b");
});

it("has no retries of its own", async () => {
  const { hosts } = setup();
  let calls = 0;
  const failing = hosts.faultHandling.global?.execute(() => {
    calls += 1;
    throw new GRPCUnavailableError("away");
  });
  await expect(failing).rejects.toThrow("away");
  expect(calls).toBe(1);
});
