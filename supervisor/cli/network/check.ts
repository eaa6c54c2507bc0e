/** `berth network check`: CNI's STATUS of all networks and CHECK of all attachments, and what belongs together. */

import { checkNetworks, networkStatus } from "../../network/inspect.ts";
import type { Connection } from "../connect.ts";
import { shown } from "../output/escape.ts";
import { print } from "../output/terminal.ts";
import { pathsOf } from "./users.ts";

/** Prints what is wrong, a line each. @returns the exit status: 1 when something is */
export async function check({ api }: Connection): Promise<number> {
  const paths = await pathsOf(api);
  const { networks, attachments, problems } = await networkStatus(paths);
  const found = await checkNetworks(paths, { deep: true });
  const lines = [...problems, ...found.map(({ subject, problem }) => `${subject}: ${problem}`)];
  const counts = `${networks} networks, ${attachments} containers attached`;
  const last = lines.length === 0 ? `${counts}: nothing wrong` : `${counts}: ${lines.length} wrong`;
  await print([...lines, last].map((line) => `${shown(line)}\n`).join(""));
  return lines.length === 0 ? 0 : 1;
}
