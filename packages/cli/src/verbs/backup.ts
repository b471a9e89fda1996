// `backup`: a consistent copy of every record, taken while the platform serves, as one file.
import { existsSync } from "node:fs";
import path from "node:path";
import { BackupServiceClient } from "@muster/proto/muster/v1/backup";
import { writeBackup } from "@muster/shared/backup";
import { dial, serverStream } from "@muster/shared/rpc";
import { type Context, openSession } from "../context.js";
import { RefusedError } from "../exit.js";

export interface BackupFlags {
  readonly force?: boolean;
}

/** At 250,000 instances a copy takes seconds; a BBS that is slower than this has stopped sending. */
const limitMs = 600_000;

export async function backup(context: Context, name: string, { force = false }: BackupFlags): Promise<void> {
  const file = path.resolve(name);
  if (existsSync(file) && !force) throw new RefusedError(`${file} exists already`, "choose another name, or say --force");
  using session = openSession(context);
  // Waits for a BBS that is being restarted or elected; the copy itself is not tried twice.
  await session.platform.domains();
  const { bbsAddresses, tls } = session.settings;
  const client = dial(BackupServiceClient, bbsAddresses, tls, "bbs");
  try {
    const bounds = { deadlineMs: limitMs, signal: context.signal };
    const written = await writeBackup(file, serverStream(client.backup.bind(client), {}, bounds));
    const { head, keyLabels } = written.header;
    const shape = {
      file,
      bytes: written.bytes,
      records: written.records,
      by_kind: written.byPrefix,
      sha256: written.sha256,
      incarnation: head?.incarnation ?? "",
      sequence: String(head?.sequence ?? 0n),
      cluster_time: new Date(Number(head?.clusterTimeMs ?? 0n)).toISOString(),
      key_labels: keyLabels,
    };
    context.out.show(shape, () => {
      context.out.line(`${shape.records} records at commit ${shape.sequence} are in ${file} (${shape.bytes} bytes)`);
      context.out.table(
        ["KIND", "RECORDS"],
        Object.entries(shape.by_kind).map(([kind, count]) => [kind, String(count)]),
      );
      if (keyLabels.length > 0)
        context.out.line(`Keep the key${keyLabels.length > 1 ? "s" : ""} ${keyLabels.join(", ")} of keys.json too, elsewhere.`);
    });
  } finally {
    client.close();
  }
}
