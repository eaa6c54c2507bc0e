/** A version of an application: a text, read with everything that it refers to. */

import { readFileSync, statSync } from "node:fs";
import { hashOf } from "./canonical.ts";
import { parseApplication, type Source } from "./compose/file.ts";
import { lineOf } from "./compose/problem.ts";
import type { Application } from "./model.ts";

/** What is to be brought about. */
export interface Version {
  readonly application: Application;
  readonly text: string;
  readonly file: string;
  /** Of the text and all that it became: the same as long as nothing changes. */
  readonly source: string;
  /** What has no effect: `FILE:LINE:COLUMN: ...`. */
  readonly warnings: readonly string[];
  /** Files that it is made of beside the text. */
  readonly files: readonly string[];
}

/** Longest file of variables in bytes. */
const MAX_VARIABLES = 1 << 20;

/** Reads a version. @throws ComposeError */
export function readVersion(text: string, source: Omit<Source, "readFile">): Version {
  const { application, warnings, files } = parseApplication(text, { ...source, readFile: readVariables });
  return {
    ...{ application, text, files, file: source.file },
    source: hashOf({ text, application }),
    warnings: warnings.map((warning) => lineOf(source.file, warning)),
  };
}

/** The text of a file of variables; undefined when there is none. @throws Error for what is none */
function readVariables(path: string): string | undefined {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return undefined;
  if (!stat.isFile()) throw new Error("it is no file");
  if (stat.size > MAX_VARIABLES) throw new Error("it is longer than 1 MiB");
  return readFileSync(path, "utf8");
}
