// Looking at etcd past the driver, as an operator with etcdctl would.
import { AlarmAction, AlarmType, Etcd3, type IOptions } from "etcd3";

/** Runs `use` on a plain client and closes it. */
export async function withEtcd<T>(
  endpoints: string[],
  use: (client: Etcd3) => Promise<T>,
  credentials?: NonNullable<IOptions["credentials"]>,
): Promise<T> {
  const client = new Etcd3({ hosts: endpoints, ...(credentials === undefined ? {} : { credentials }) });
  try {
    return await use(client);
  } finally {
    client.close();
  }
}

/** Deletes the leadership key, which ends the term behind its holder's back. */
export async function deleteLeader(endpoints: string[], prefix: string, name: string): Promise<void> {
  await withEtcd(endpoints, async (client) => {
    await client.delete().key(`${prefix}leader/${name}`);
  });
}

/** What an operator does about a full quota: compact, defragment, disarm. */
export async function makeRoom(client: Etcd3): Promise<void> {
  const { header } = await client.get("x").exec();
  await client.kv.compact({ revision: header.revision, physical: true });
  await client.maintenance.defragment();
  const { alarms } = await client.maintenance.alarm({ action: AlarmAction.Get });
  for (const { memberID } of alarms) {
    await client.maintenance.alarm({ action: AlarmAction.Deactivate, alarm: AlarmType.Nospace, memberID });
  }
}
