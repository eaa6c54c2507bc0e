/** The directory of network configurations: read whole each time, since there are few and others write there, too. */

import { closeSync, constants, fstatSync, openSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { messageOf } from "../../../proto/errdefs.ts";
import { type NetworkConf, parseConf } from "./conf.ts";

const MAX_BYTES = 1 << 20;

/** A network with the file that it is in. */
export interface NetworkFile extends NetworkConf {
  readonly path: string;
}

/** A file that is not used. */
export interface BadFile {
  readonly path: string;
  /** Why, in a sentence. */
  readonly problem: string;
}

/** What a directory has. */
export interface Networks {
  /** In the order of their files' names, which is the order that others choose by. */
  readonly networks: readonly NetworkFile[];
  readonly bad: readonly BadFile[];
}

/** Reads all networks. A directory that is missing has none; what is wrong is left out, and told. */
export function readNetworks(dir: string): Networks {
  const networks: NetworkFile[] = [];
  const bad: BadFile[] = [];
  for (const file of filesOf(dir, bad)) {
    const path = join(dir, file);
    try {
      const conf = parseConf(readBounded(path), file.endsWith(".conflist"));
      const other = networks.find(({ name }) => name === conf.name);
      if (other === undefined) networks.push({ ...conf, path });
      else bad.push({ path, problem: `network ${conf.name} is in ${other.path} already` });
    } catch (error) {
      bad.push({ path, problem: messageOf(error) });
    }
  }
  return { networks, bad };
}

function filesOf(dir: string, bad: BadFile[]): string[] {
  try {
    return readdirSync(dir)
      .filter((name) => /\.(conf|conflist|json)$/.test(name))
      .sort();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") bad.push({ path: dir, problem: messageOf(error) });
    return [];
  }
}

/** Opening a FIFO or a device must not block, and reading one must not go on for ever. */
function readBounded(path: string): string {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  try {
    const status = fstatSync(fd);
    if (!status.isFile()) throw new Error("not a file");
    if (status.size > MAX_BYTES) throw new Error(`longer than ${MAX_BYTES} bytes`);
    return readFileSync(fd, "utf8");
  } finally {
    closeSync(fd);
  }
}
