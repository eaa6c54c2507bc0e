/** `berth network rm`. */

import { messageOf } from "../../../proto/errdefs.ts";
import { removeNetwork } from "../../network/remove.ts";
import type { Connection } from "../connect.ts";
import { shown } from "../output/escape.ts";
import { note, print } from "../output/terminal.ts";
import { pathsOf, usersOf } from "./users.ts";

/** Removes networks, each that can be. @returns the exit status */
export async function remove({ api }: Connection, names: readonly string[]): Promise<number> {
  const [paths, users] = await Promise.all([pathsOf(api), usersOf(api)]);
  let status = 0;
  for (const name of names) {
    try {
      await removeNetwork(paths, name, users.get(name) ?? []);
      await print(`${shown(name)}\n`);
    } catch (error) {
      status = 1;
      note(`berth network rm: ${shown(messageOf(error))}\n`);
    }
  }
  return status;
}
