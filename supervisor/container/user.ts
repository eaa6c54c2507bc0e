/** Who a container's processes are, by the names in its own /etc/passwd and /etc/group. Both come out of an image. */

import { invalidArgument } from "../../proto/errdefs.ts";
import type { OciUser } from "./oci.ts";

/** The texts of an image's files; undefined where there is none. */
export interface UserFiles {
  readonly passwd?: string | undefined;
  readonly group?: string | undefined;
}

interface User {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
  readonly home: string;
}

interface Group {
  readonly name: string;
  readonly gid: number;
  readonly members: readonly string[];
}

/** A user, and where it lives; the home is undefined when passwd does not say. */
export interface ResolvedUser extends OciUser {
  readonly home?: string;
}

const MAX_ID = 2 ** 31 - 1;

/**
 * Resolves `USER[:GROUP]`, names or numbers, as docker does: a number need not be in passwd; a user without a group gets
 * those that it is a member of.
 * @param text empty for root
 * @param add further groups, names or numbers
 * @throws ContainerdError InvalidArgument for a name that the image does not have
 */
export function resolveUser(text: string, files: UserFiles, add: readonly string[] = []): ResolvedUser {
  const [name = "", group] = splitUser(text);
  const users = parsePasswd(files.passwd ?? "");
  const groups = parseGroup(files.group ?? "");
  const number = idOf(name);
  const user = users.find((user) => user.name === name) ?? users.find(({ uid }) => uid === number);
  if (user === undefined && number === undefined) {
    const known = users.map((user) => user.name).slice(0, 10);
    const hint = known.length > 0 ? `its users are ${known.join(", ")}` : "it has no /etc/passwd";
    throw invalidArgument(`there is no user ${JSON.stringify(name)} in the image: ${hint}; or give a number`);
  }
  const gidOf = (text: string): number => {
    const found = groups.find((group) => group.name === text)?.gid ?? idOf(text);
    if (found === undefined) {
      throw invalidArgument(`there is no group ${JSON.stringify(text)} in the image's /etc/group; or give a number`);
    }
    return found;
  };
  const uid = user?.uid ?? number ?? 0;
  const gid = group === undefined ? (user?.gid ?? 0) : gidOf(group);
  const member =
    group === undefined && user !== undefined ? groups.filter(({ members }) => members.includes(user.name)) : [];
  const additionalGids = [...new Set([gid, ...member.map((group) => group.gid), ...add.map(gidOf)])];
  return { uid, gid, additionalGids, ...(user?.home ? { home: user.home } : {}) };
}

function splitUser(text: string): [string, string | undefined] {
  const [name = "", group, ...more] = text.split(":");
  if (more.length > 0 || group === "") throw invalidArgument(`user ${JSON.stringify(text)}: it is USER[:GROUP]`);
  return [name === "" ? "0" : name, group];
}

function idOf(text: string): number | undefined {
  if (!/^[0-9]+$/.test(text)) return undefined;
  const id = Number(text);
  if (id > MAX_ID) throw invalidArgument(`uids and gids are 0 to ${MAX_ID}, not ${text.slice(0, 40)}`);
  return id;
}

function parsePasswd(text: string): User[] {
  return rows(text).flatMap(([name = "", , uid = "", gid = "", , home = ""]) => {
    return isId(uid) && isId(gid) ? [{ name, uid: Number(uid), gid: Number(gid), home }] : [];
  });
}

function parseGroup(text: string): Group[] {
  return rows(text).flatMap(([name = "", , gid = "", members = ""]) => {
    return isId(gid) ? [{ name, gid: Number(gid), members: members.split(",").filter((member) => member !== "") }] : [];
  });
}

function rows(text: string): string[][] {
  return text
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "" && !line.startsWith("#"))
    .map((line) => line.split(":"));
}

function isId(text: string): boolean {
  return /^[0-9]{1,10}$/.test(text) && Number(text) <= MAX_ID;
}
