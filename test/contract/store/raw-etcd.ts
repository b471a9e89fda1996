// Looking at etcd past the driver, as an operator with etcdctl would.
import { Etcd3 } from "etcd3";

/** Runs `use` on a plain client and closes it. */
export async function withEtcd<T>(endpoints: string[], use: (client: Etcd3) => Promise<T>): Promise<T> {
  const client = new Etcd3({ hosts: endpoints });
  try {
    return await use(client);
  } finally {
    client.close();
  }
}

/** Deletes the leadership key, which ends the term behind its holder's back. */
export async function deleteLeader(endpoints: string[], prefix: string, name: string): Promise<void> {
  await withEtcd(endpoints, (client) => client.delete().key(`${prefix}leader/${name}`));
}
