// What surrounds a container's processes: what it may reach, its volumes, its bound files. In the garden's words.
import type { BoundFile, EgressRule, VolumeRequest } from "@muster/garden";
import type { File } from "@muster/proto/models/file";
import type { SecurityGroupRule } from "@muster/proto/models/security_group";
import type { VolumeMount } from "@muster/proto/models/volume_mount";

interface HasSurroundings {
  readonly egressRules: readonly SecurityGroupRule[];
  readonly volumeMounts: readonly VolumeMount[];
  readonly volumeMountedFiles: readonly File[];
}

export interface Surroundings {
  readonly egress: readonly EgressRule[];
  readonly volumes: readonly VolumeRequest[];
  readonly files: readonly BoundFile[];
}

const egressOf = (rule: SecurityGroupRule): EgressRule => ({
  protocol: rule.protocol,
  destinations: rule.destinations,
  ports: rule.ports,
  portRange: rule.portRange,
  icmp: rule.icmpInfo,
  log: rule.log,
});

const volumeOf = ({ driver, containerDir, mode, shared }: VolumeMount): VolumeRequest => ({
  driver,
  containerDir,
  mode,
  volumeId: shared?.volumeId ?? "",
  ...(shared === undefined || shared.mountConfig === "" ? {} : { config: shared.mountConfig }),
});

export const surroundingsOf = (from: HasSurroundings): Surroundings => ({
  egress: from.egressRules.map(egressOf),
  volumes: from.volumeMounts.map(volumeOf),
  files: from.volumeMountedFiles.map(({ path, content }) => ({ path, content: Buffer.from(content) })),
});
