/** The files that a command line names, as the daemon is asked about them. */

import { readdirSync, readFileSync, statSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { invalidArgument, messageOf } from "../../../proto/errdefs.ts";
import { MAX_FILE } from "../../app/compose/tree.ts";

/** One text for Apply and Diff. */
export interface AppRequest {
  readonly text: string;
  /** For problems: as the person named it; for a file that the daemon watches, its absolute path. */
  readonly file: string;
  readonly directory: string;
  readonly environment: Record<string, string>;
  readonly name: string;
}

/**
 * Reads files, all `*.yaml` and `*.yml` of directories, and standard input for `-`.
 * @throws ContainerdError InvalidArgument that names the file
 */
export async function requestsOf(files: readonly string[], name = ""): Promise<AppRequest[]> {
  const paths = files.flatMap((file) => (file === "-" ? [file] : expand(file)));
  if (name !== "" && paths.length > 1) throw invalidArgument(`--name is for one file, and there are ${paths.length}`);
  const requests: AppRequest[] = [];
  for (const path of paths) {
    const text = path === "-" ? await Bun.stdin.text() : read(path);
    const file = path === "-" ? path : resolve(path);
    requests.push({
      text,
      file,
      directory: path === "-" ? process.cwd() : dirname(file),
      environment: namedIn(text),
      name,
    });
  }
  return requests;
}

function expand(path: string): string[] {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat === undefined) throw invalidArgument(`there is no file ${path}`);
  if (!stat.isDirectory()) return [path];
  const found = readdirSync(path)
    .filter((name) => /^[^.#].*\.ya?ml$/.test(name))
    .toSorted()
    .map((name) => join(path, name));
  if (found.length === 0) throw invalidArgument(`there is no *.yaml in ${path}`);
  return found;
}

function read(path: string): string {
  try {
    const { size } = statSync(path);
    if (size > 4 * MAX_FILE) throw new Error(`it is longer than ${MAX_FILE >> 10} KiB`);
    return readFileSync(path, "utf8");
  } catch (error) {
    throw invalidArgument(`${path} cannot be read: ${messageOf(error)}`);
  }
}

/** Variables of our environment whose names are in the text, and those that change how it is read: nothing else leaves us. */
function namedIn(text: string): Record<string, string> {
  const words = new Set([...(text.match(/[A-Za-z_][A-Za-z0-9_]*/g) ?? []), "HOME", "COMPOSE_PROFILES"]);
  const found: Record<string, string> = {};
  for (const [name, value] of Object.entries(process.env))
    if (value !== undefined && words.has(name)) found[name] = value;
  return found;
}
