// Domains, locks and feature flags.
import { BbsError } from "@muster/shared/errors";
import { asDomainName, asEpochMs, drop, type FeatureFlag, featureFlagDefaults, type Lock, put } from "@muster/shared/model";
import { type Command, unchanged } from "./decision.js";

/** Vouches for a domain. `ttlSeconds` 0 never expires; the newest word counts, also a shorter one. */
export const upsertDomain =
  (name: string, ttlSeconds: number): Command<void> =>
  (_state, context) => ({
    writes: [
      put("domain", {
        name: asDomainName(name),
        expiresAtMs: ttlSeconds === 0 ? undefined : asEpochMs(context.nowMs + ttlSeconds * 1000),
      }),
    ],
    reply: undefined,
  });

/** Takes a lock, or holds it on for the same owner. A renewal that says nothing new is no write. @throws BbsError LockCollision */
export const takeLock =
  (lock: Lock): Command<void> =>
  (state) => {
    const held = state.tables.locks.get(lock.key);
    if (held !== undefined && held.owner !== lock.owner) {
      throw new BbsError("LockCollision", undefined, { key: lock.key, held_by: held.value });
    }
    const same = held !== undefined && held.value === lock.value && held.ttlMs === lock.ttlMs;
    return same ? unchanged(undefined) : { writes: [put("lock", lock)], reply: undefined };
  };

/** Gives a lock up, or lets it go when its time has passed. Not the owner: nothing happens. */
export const releaseLock =
  (key: string, owner: string): Command<void> =>
  (state) => {
    const held = state.tables.locks.get(key);
    return held === undefined || held.owner !== owner ? unchanged(undefined) : { writes: [drop("lock", held)], reply: undefined };
  };

/** @throws BbsError ResourceNotFound for a flag Muster does not know. */
export const setFeatureFlag =
  (flag: FeatureFlag): Command<FeatureFlag> =>
  (state) => {
    if (!Object.hasOwn(featureFlagDefaults, flag.name)) {
      throw new BbsError(
        "ResourceNotFound",
        `no feature flag is called ${flag.name}; known are ${Object.keys(featureFlagDefaults).join(", ")}`,
      );
    }
    const same = state.tables.flag(flag.name) === flag.enabled;
    return same ? unchanged(flag) : { writes: [put("featureFlag", flag)], reply: flag };
  };
