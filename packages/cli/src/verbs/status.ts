// `status`: the platform's processes and whether it is ready.
import { addressIn } from "../client/peers.js";
import { type Context, openSession, type Session } from "../context.js";
import { UnreachableError } from "../exit.js";
import { readServicesFile, servicesFileOf } from "../services-file.js";
import { type PlatformStatus, readPresence, readStatus, type ServiceStatus } from "../status.js";

export async function status(context: Context): Promise<void> {
  // Asked once: a status that waits for things to get better tells nothing.
  using session = openSession(context, 0);
  const known = readServicesFile(servicesFileOf(session.settings.home));
  const flags = context.flags;
  const local = known !== undefined && flags.bbs === undefined;
  const shape = local ? await readStatus(known.services, session.platform, context.clock) : await remoteStatus(session);
  const dead = shape.services.every((service) => !service.healthy);
  if (dead)
    throw new UnreachableError(
      `no platform is running on ${session.settings.home}`,
      "start it with `npm start` (or `muster up`)",
    );
  context.out.show(shape, () => {
    const { out } = context;
    out.line(shape.ready ? out.paint("green", "ready") : out.paint("yellow", "not ready"));
    out.table(
      ["NAME", "ROLE", "PID", "ADDRESS", "ACTIVE", "HEALTHY"],
      shape.services.map((each) => [
        each.name,
        each.role,
        each.pid === 0 ? "-" : String(each.pid),
        each.address || "-",
        each.active ? "yes" : "standby",
        each.healthy ? "yes" : "NO",
      ]),
    );
  });
}

/** Of a platform that runs elsewhere: what its BBS tells of itself and the others. */
async function remoteStatus({ platform, settings }: Session): Promise<PlatformStatus> {
  const presence = await readPresence(platform);
  if (presence === undefined) {
    throw new UnreachableError(`no BBS answers on ${settings.bbsAddresses.join(", ")}`, "is the platform up?");
  }
  const locks = await platform.locks();
  const service = (name: string, role: string, address: string): ServiceStatus => ({
    name,
    role,
    pid: 0,
    address,
    active: true,
    healthy: true,
  });
  const services = [
    service("bbs", "bbs", settings.bbsAddresses.join(",")),
    ...locks.map((lock) => service(lock.key, lock.key, addressIn(lock.value) ?? lock.value)),
    ...[...presence.cells].map(([cellId, address]) => service(cellId, "rep", address)),
  ];
  const roles = new Set(services.map((each) => each.role));
  return { ready: ["auctioneer", "converger", "rep"].every((role) => roles.has(role)), services };
}
