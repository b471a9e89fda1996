// What the garden is asked for, and what it answers, in the words of rows.
import type { Container, ContainerSpec, LentFolder, ProcessSpec } from "@muster/garden";
import type { RunAction } from "@muster/proto/models/actions";
import type { ActualLRPNetInfo } from "@muster/shared/model";
import { type ContainerRecord, processEnvironment, type RunRequest } from "../plan/index.js";

/** Garden property by which a container is known to be a rep's. */
const gardenOwner = "muster-rep";

/** Where the container answers, as its row tells it. */
export function netInfoOf(container: Container): ActualLRPNetInfo {
  const info = container.info();
  return {
    address: info.hostIp,
    ports: info.ports.map((port) => ({ ...port, containerTlsProxyPort: 0, hostTlsProxyPort: 0 })),
    instanceAddress: info.containerIp,
    instanceIpv6Address: "",
    preferredAddress: "HOST",
  };
}

export function containerSpec(record: ContainerRecord, request: RunRequest, folders: readonly LentFolder[]): ContainerSpec {
  return {
    handle: record.instanceGuid,
    rootFs: request.rootFs,
    credentials: request.credentials,
    memoryMb: record.memoryMb,
    diskMb: record.diskMb,
    maxPids: request.maxPids,
    cpuWeight: request.cpuWeight,
    ports: request.ports.map((containerPort) => ({ containerPort })),
    env: request.env,
    properties:
      record.task === undefined
        ? { owner: gardenOwner, process_guid: record.key.processGuid, index: String(record.key.index) }
        : { owner: gardenOwner, task_guid: record.task.guid },
    hostname: record.instanceGuid,
    egress: request.egress,
    volumes: request.volumes,
    files: request.files,
    folders: [...request.lentFolders, ...folders],
    hasIdentity: request.start.identity !== undefined,
    ...(request.severalProcesses ? { lasting: true } : {}),
  };
}

export function processSpec(id: string, action: RunAction, netInfo: ActualLRPNetInfo): ProcessSpec {
  const nofile = action.resourceLimits?.optionalNofile;
  return {
    id,
    path: action.path,
    args: action.args,
    dir: action.dir,
    user: action.user,
    env: processEnvironment(action.env, netInfo),
    nofile: nofile === undefined ? undefined : Number(nofile.value),
  };
}
