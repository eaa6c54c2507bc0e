/** The same for several containers: what fails for one does not keep it from the others. */

import { messageOf } from "../../../proto/errdefs.ts";
import { shown } from "../output/escape.ts";
import { note, print } from "../output/terminal.ts";
import { ExitStatus, FAILED } from "../status.ts";

/**
 * Does something for each container, and prints its name, or what the work returns.
 * @returns the exit status
 */
export async function each(ids: readonly string[], work: (id: string) => Promise<unknown>): Promise<number> {
  let status = 0;
  for (const id of new Set(ids)) {
    try {
      const text = await work(id);
      if (text !== null) await print(`${typeof text === "string" ? text : id}\n`);
    } catch (error) {
      if (error instanceof ExitStatus) throw error;
      status = FAILED;
      note(`berth: ${shown(messageOf(error))}\n`);
    }
  }
  return status;
}
