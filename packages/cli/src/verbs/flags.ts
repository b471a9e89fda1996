// Verbs about feature flags, domains and locks.
import { featureFlagDefaults } from "@muster/shared/model";
import { type Context, openSession } from "../context.js";
import { RefusedError } from "../exit.js";

const onOff = (enabled: boolean): string => (enabled ? "enabled" : "disabled");

export async function featureFlags(context: Context): Promise<void> {
  using session = openSession(context);
  const flags = (await session.platform.featureFlags()).map(({ name, enabled }) => ({ name, enabled }));
  context.out.show(flags, () =>
    context.out.table(
      ["NAME", "STATE"],
      flags.map((flag) => [flag.name, onOff(flag.enabled)]),
    ),
  );
}

export async function featureFlag(context: Context, name: string): Promise<void> {
  using session = openSession(context);
  const flag = (await session.platform.featureFlags()).find((each) => each.name === name);
  if (flag === undefined) throw unknownFlag(name);
  context.out.show({ name, enabled: flag.enabled }, () => context.out.line(`${name} is ${onOff(flag.enabled)}`));
}

const unknownFlag = (name: string): RefusedError =>
  new RefusedError(`there is no feature flag ${name}`, `known: ${Object.keys(featureFlagDefaults).join(", ")}`);

export async function setFeatureFlag(context: Context, name: string, enabled: boolean): Promise<void> {
  if (!Object.hasOwn(featureFlagDefaults, name)) throw unknownFlag(name);
  using session = openSession(context);
  await session.platform.setFeatureFlag(name, enabled);
  context.out.show({ name, enabled }, () => {
    context.out.line(`${name} is ${onOff(enabled)}`);
    if (name === "diego_docker" && !enabled)
      context.out.line("every Docker app is stopped within a minute; the apps themselves stay");
  });
}

export async function domains(context: Context): Promise<void> {
  using session = openSession(context);
  const fresh = [...(await session.platform.domains())].sort();
  context.out.show(fresh, () =>
    context.out.table(
      ["FRESH DOMAIN"],
      fresh.map((domain) => [domain]),
    ),
  );
}

export async function locks(context: Context): Promise<void> {
  using session = openSession(context);
  const held = (await session.platform.locks())
    .map(({ key, owner, value }) => ({ key, owner, value }))
    .sort((a, b) => (a.key < b.key ? -1 : 1));
  context.out.show(held, () =>
    context.out.table(
      ["LOCK", "OWNER", "VALUE"],
      held.map((lock) => [lock.key, lock.owner, lock.value]),
    ),
  );
}
