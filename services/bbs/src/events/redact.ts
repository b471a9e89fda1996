// No secret in events: definitions travel whole but for values of environment variables, credentials, volume configurations and the
// contents of mounted files.
import type { Action } from "@muster/proto/models/actions";
import type { DesiredLRP } from "@muster/proto/models/desired_lrp";
import type { EnvironmentVariable } from "@muster/proto/models/environment_variables";
import type { File } from "@muster/proto/models/file";
import type { TaskDefinition } from "@muster/proto/models/task";
import type { VolumeMount } from "@muster/proto/models/volume_mount";
import { mapActions } from "./action-tree.js";

const withoutValues = (variables: readonly EnvironmentVariable[]): EnvironmentVariable[] =>
  variables.map(({ name }) => ({ name, value: "" }));

const withoutContents = (files: readonly File[]): File[] => files.map(({ path }) => ({ path, content: "" }));

const withoutConfigs = (mounts: readonly VolumeMount[]): VolumeMount[] =>
  mounts.map((mount) => ({
    ...mount,
    shared: mount.shared && { ...mount.shared, mountConfig: "" },
    dedicated: mount.dedicated && { ...mount.dedicated, mountConfig: "", deviceConfig: "" },
  }));

const withoutSecrets = (action: Action | undefined): Action | undefined =>
  action &&
  mapActions(action, (each) =>
    each.runAction === undefined
      ? each
      : {
          ...each,
          runAction: {
            ...each.runAction,
            env: withoutValues(each.runAction.env),
            volumeMountedFiles: withoutContents(each.runAction.volumeMountedFiles),
          },
        },
  );

export const redactedDesiredLRP = (desired: DesiredLRP): DesiredLRP => ({
  ...desired,
  environmentVariables: withoutValues(desired.environmentVariables),
  setup: withoutSecrets(desired.setup),
  action: withoutSecrets(desired.action),
  monitor: withoutSecrets(desired.monitor),
  sidecars: desired.sidecars.map((sidecar) => ({ ...sidecar, action: withoutSecrets(sidecar.action) })),
  imageUsername: "",
  imagePassword: "",
  volumeMounts: withoutConfigs(desired.volumeMounts),
  volumeMountedFiles: withoutContents(desired.volumeMountedFiles),
});

export const redactedTaskDefinition = (definition: TaskDefinition): TaskDefinition => ({
  ...definition,
  environmentVariables: withoutValues(definition.environmentVariables),
  action: withoutSecrets(definition.action),
  imageUsername: "",
  imagePassword: "",
  volumeMounts: withoutConfigs(definition.volumeMounts),
  volumeMountedFiles: withoutContents(definition.volumeMountedFiles),
});
