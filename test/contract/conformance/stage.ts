// Where one entry of a table is played: names nobody else uses, and the real calls by which its records come to their states.
import { RepairOutcome } from "@muster/proto/muster/v1/repair";
import { unary } from "@muster/shared/rpc";
import type { CallOptions, Reply } from "../../support/diego-client.js";
import type { Message } from "../../support/diego-codec.js";
import { eventually } from "../bbs/fixtures.js";
import type { Role, Transport, World } from "./world.js";

/** Instances by one letter: `a` and `c` are two on the same cell, `b` and `d` are on cells of their own, `r` is on one that reports. */
export type Letter = "a" | "b" | "c" | "d" | "r";
export const cellOf: Readonly<Record<Letter, "cell-1" | "cell-2" | "cell-3" | "cell-9">> = {
  a: "cell-1",
  b: "cell-2",
  c: "cell-1",
  d: "cell-3",
  r: "cell-9",
};

let stages = 0;

export class Stage {
  readonly world: World;
  readonly transport: Transport;
  /** Process guid, task guid and prefix of every other name of this entry. */
  readonly guid: string;
  /** Nobody vouches for it unless the entry does. */
  readonly domain: string;

  constructor(world: World, transport: Transport) {
    stages += 1;
    this.world = world;
    this.transport = transport;
    this.guid = `p${stages}`;
    this.domain = `domain-${stages}`;
  }

  call(role: Role, route: string, body: Message | Buffer, options: CallOptions = {}): Promise<Reply> {
    return this.world.as(this.transport, role).call(route, body, options);
  }

  /** A call that is part of the way to a state. @throws when it is refused */
  async ok(role: Role, route: string, body: Message | Buffer, options: CallOptions = {}): Promise<Message> {
    const { error, message } = await this.call(role, route, body, options);
    if (error !== undefined) throw new Error(`${route} on the way to the given state: ${error.type}: ${error.message}`);
    return message;
  }

  // --- messages

  key(index = 0): Message {
    return { process_guid: this.guid, index, domain: this.domain };
  }

  instance(letter: Letter): Message {
    return { instance_guid: letter, cell_id: cellOf[letter] };
  }

  desired(fields: Message = {}): Message {
    return { ...plainDesired, process_guid: this.guid, domain: this.domain, ...fields };
  }

  started(letter: Letter, fields: Message = {}): Message {
    return {
      actual_lrp_key: this.key(),
      actual_lrp_instance_key: this.instance(letter),
      actual_lrp_net_info: netInfo,
      actual_lrp_internal_routes: [{ hostname: "app.internal" }],
      metric_tags: { source_id: "app" },
      availability_zone: "z1",
      ...fields,
    };
  }

  // --- ways to a state

  desire(fields: Message = {}): Promise<Message> {
    return this.ok("controller", "DesireDesiredLRP", { desired_lrp: this.desired(fields) });
  }

  update(update: Message): Promise<Message> {
    return this.ok("controller", "UpdateDesiredLRP", { process_guid: this.guid, update });
  }

  vouch(): Promise<Message> {
    return this.ok("controller", "UpsertDomain", { domain: this.domain });
  }

  claim(letter: Letter, index = 0): Promise<Message> {
    const body = { process_guid: this.guid, index, actual_lrp_instance_key: this.instance(letter) };
    return this.ok(cellOf[letter], "ClaimActualLRP", body);
  }

  start(letter: Letter, index = 0): Promise<Message> {
    return this.ok(cellOf[letter], "StartActualLRP", this.started(letter, { actual_lrp_key: this.key(index) }));
  }

  crash(letter: Letter, reason = "exit status 1"): Promise<Message> {
    const keys = { actual_lrp_key: this.key(), actual_lrp_instance_key: this.instance(letter) };
    return this.ok(cellOf[letter], "CrashActualLRP", { ...keys, error_message: reason });
  }

  retire(): Promise<Message> {
    return this.ok("controller", "RetireActualLRP", { actual_lrp_key: this.key() });
  }

  remove(letter: Letter): Promise<Message> {
    const body = { process_guid: this.guid, actual_lrp_instance_key: this.instance(letter) };
    return this.ok(cellOf[letter], "RemoveActualLRP", body);
  }

  /** What the converger does about a row whose cell has no presence: its cell counts as lost. */
  async cellLost(): Promise<void> {
    await this.repair("cell-lost");
  }

  /** @throws when the rule does not hold */
  async repair(rule: string, presence = 0): Promise<void> {
    const { message } = await this.judged(rule, presence);
    if (!message.held) throw new Error(`the rule ${rule} does not hold`);
  }

  /** Has a convergence rule judged, and carried out where it `held`. */
  async judged(rule: string, presence = 0): Promise<Reply> {
    const { repair } = this.world.own.converger;
    const items = [{ rule, processGuid: this.guid, index: 0, presence, name: this.guid }];
    const [result] = (await unary(repair.repair.bind(repair), { items })).results;
    return { error: undefined, message: { held: result?.outcome === RepairOutcome.REPAIR_OUTCOME_DONE } };
  }

  /** Time passes. A commit that was under way meanwhile looks stalled for a moment: goes on once the BBS takes calls again. */
  async leap(ms: number): Promise<void> {
    this.world.clock.leap(ms);
    await eventually("the BBS takes calls after the leap", async () => {
      const { error, message } = await this.call("operator", "Ping", {});
      return error === undefined && message.available === true ? true : undefined;
    });
  }

  // --- what is there

  async rows(): Promise<Message[]> {
    const { actual_lrps: rows = [] } = await this.ok("controller", "ActualLRPs", { process_guid: this.guid });
    return (rows as Message[]).sort((one, other) => orderOf(one) - orderOf(other));
  }

  async row(): Promise<Message> {
    const [row] = await this.rows();
    if (row === undefined) throw new Error("there is no row");
    return row;
  }

  async desiredLRP(): Promise<Message> {
    return (await this.ok("controller", "DesiredLRPByProcessGuid", { process_guid: this.guid })).desired_lrp;
  }

  // --- tasks

  async desireTask(fields: Message = {}): Promise<void> {
    await this.ok("controller", "DesireTask", this.task(fields));
  }

  task(fields: Message = {}): Message {
    return { task_definition: { ...plainTask, ...fields }, task_guid: this.guid, domain: this.domain };
  }

  async taskRecord(): Promise<Message | undefined> {
    const { error, message } = await this.call("controller", "TaskByGuid", { task_guid: this.guid });
    return error === undefined ? message.task : undefined;
  }
}

/** Ordinary before evacuating before suspect, index by index. */
const orderOf = (row: Message): number => (row.actual_lrp_key.index ?? 0) * 3 + (row.presence ?? 0);

export const netInfo: Message = {
  address: "10.0.0.1",
  ports: [{ container_port: 8080, host_port: 61001, container_tls_proxy_port: 61443, host_tls_proxy_port: 61002 }],
  instance_address: "10.255.0.7",
  preferred_address: 2,
};

const plainDesired: Message = {
  root_fs: "preloaded:busybox",
  instances: 1,
  action: { run_action: { path: "/bin/server", user: "vcap" } },
  memory_mb: 64,
  disk_mb: 64,
  metric_tags: { source_id: { static: "app" } },
};

const plainTask: Message = {
  root_fs: "preloaded:busybox",
  action: { run_action: { path: "/bin/true", user: "vcap" } },
  memory_mb: 64,
  disk_mb: 64,
};
