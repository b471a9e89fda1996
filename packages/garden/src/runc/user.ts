// Who a process runs as: a name, `name:group`, uid or `uid:gid`, looked up in the image's own passwd and group. Pure.
import { GardenError } from "../garden.js";

export interface ContainerUser {
  readonly uid: number;
  readonly gid: number;
  readonly additionalGids: readonly number[];
  readonly name: string | undefined;
  readonly home: string;
}

interface PasswdRow {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
  readonly home: string;
}

interface GroupRow {
  readonly name: string;
  readonly gid: number;
  readonly members: readonly string[];
}

/** Ids beyond this have no place in the container's user namespace. */
const lastId = 65_535;
const idPattern = /^[0-9]{1,10}$/;

const rows = (text: string): string[][] =>
  text
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("#"))
    .map((line) => line.split(":"));

function parsePasswd(text: string): PasswdRow[] {
  return rows(text)
    .filter((row) => idPattern.test(row[2] ?? "") && idPattern.test(row[3] ?? ""))
    .map((row) => ({
      name: row[0] ?? "",
      uid: Number(row[2]),
      gid: Number(row[3]),
      home: row[5] === undefined || row[5] === "" ? "/" : row[5],
    }));
}

function parseGroup(text: string): GroupRow[] {
  return rows(text)
    .filter((row) => idPattern.test(row[2] ?? ""))
    .map((row) => ({
      name: row[0] ?? "",
      gid: Number(row[2]),
      members: (row[3] ?? "").split(",").filter((member) => member !== ""),
    }));
}

function fail(what: string): never {
  throw new GardenError("process-failed", what);
}

function checkedId(id: number, what: string): number {
  if (id > lastId) fail(`${what} ${id} does not exist in a container: ids end at ${lastId}`);
  return id;
}

/**
 * Resolves the user of a process. Empty means root. A bare uid that passwd does not know runs with group 0, as in Docker.
 * `passwd` and `group` are the image's files; `undefined` when it has none.
 * @throws GardenError process-failed naming the user or group that is missing.
 */
export function resolveUser(asked: string, passwd: string | undefined, group: string | undefined): ContainerUser {
  const users = parsePasswd(passwd ?? "");
  const groups = parseGroup(group ?? "");
  const colon = asked.indexOf(":");
  const userPart = colon < 0 ? asked : asked.slice(0, colon);
  const groupPart = colon < 0 ? "" : asked.slice(colon + 1);
  const row = findUser(userPart === "" ? "root" : userPart, users, passwd !== undefined);
  const gid = groupPart === "" ? row.gid : findGroup(groupPart, groups, group !== undefined);
  // A group that is named outright is the only one; otherwise the user has every group it is a member of.
  const memberOf = groupPart === "" && row.name !== undefined ? groups.filter((one) => one.members.includes(row.name ?? "")) : [];
  const additional = [gid, ...memberOf.map((one) => one.gid).filter((id) => id <= lastId)];
  return {
    uid: checkedId(row.uid, "user"),
    gid: checkedId(gid, "group"),
    additionalGids: [...new Set(additional)],
    name: row.name,
    home: row.home,
  };
}

function findUser(
  name: string,
  users: readonly PasswdRow[],
  hasPasswd: boolean,
): Omit<PasswdRow, "name"> & { name: string | undefined } {
  const named = users.find((user) => user.name === name);
  if (named !== undefined) return named;
  if (idPattern.test(name))
    return users.find((user) => user.uid === Number(name)) ?? { name: undefined, uid: Number(name), gid: 0, home: "/" };
  // An image made from nothing has no passwd, and root nevertheless.
  if (name === "root") return { name: "root", uid: 0, gid: 0, home: "/root" };
  return fail(
    hasPasswd
      ? `unable to find user ${name}: no matching entries in the image's /etc/passwd`
      : `unable to find user ${name}: the image has no /etc/passwd`,
  );
}

function findGroup(name: string, groups: readonly GroupRow[], hasGroup: boolean): number {
  const named = groups.find((group) => group.name === name);
  if (named !== undefined) return named.gid;
  if (idPattern.test(name)) return Number(name);
  return fail(
    hasGroup
      ? `unable to find group ${name}: no matching entries in the image's /etc/group`
      : `unable to find group ${name}: the image has no /etc/group`,
  );
}
