/** What is wrong in an application's file: every problem at once, each with its place. */

import { ContainerdError } from "../../../proto/errdefs.ts";
import { Code } from "../../../proto/ttrpc/status.ts";
import type { Place } from "./node.ts";

/** One thing wrong. */
export interface Problem extends Place {
  /** The key that it is about: `services.web.ports[0]`; empty for the file as a whole. */
  readonly path: string;
  readonly message: string;
}

/** More than these are not told: the first ones explain the rest. */
const MAX_PROBLEMS = 50;

/** `web.yaml:3:5: services.web.prots: unknown key: did you mean ports?` */
export function lineOf(file: string, { line, column, path, message }: Problem): string {
  return `${file}:${line}:${column}: ${path === "" ? "" : `${path}: `}${message}`;
}

/** A file that cannot be used. Its message has one line for each problem. */
export class ComposeError extends ContainerdError {
  readonly problems: readonly Problem[];

  constructor(file: string, problems: readonly Problem[]) {
    super(Code.InvalidArgument, problems.map((problem) => lineOf(file, problem)).join("\n"));
    this.problems = problems;
  }
}

/** Collects what is wrong and what is odd while a file is read. */
export class Problems {
  readonly #found: Problem[] = [];
  readonly #warnings: Problem[] = [];
  /** Paths whose value is not known: nothing more is said of them. */
  readonly #broken = new Set<string>();
  #left = 0;

  /** Notes something that makes the file unusable. @returns undefined, for readers to return */
  add(at: Place, path: string, message: string): undefined {
    if (this.#broken.has(path)) return;
    if (this.#found.length < MAX_PROBLEMS) this.#found.push({ line: at.line, column: at.column, path, message });
    else this.#left++;
    return undefined;
  }

  /** {@link add}, for a value that is then not there. */
  broken(at: Place, path: string, message: string): void {
    this.add(at, path, message);
    this.#broken.add(path);
  }

  /** Notes something that has no effect here. */
  warn(at: Place, path: string, message: string): void {
    if (this.#warnings.length < MAX_PROBLEMS) {
      this.#warnings.push({ line: at.line, column: at.column, path, message });
    }
  }

  get isEmpty(): boolean {
    return this.#found.length === 0;
  }

  /** In order of their lines. */
  get found(): Problem[] {
    const sorted = this.#found.toSorted((a, b) => a.line - b.line || a.column - b.column);
    const last = sorted.at(-1);
    if (this.#left === 0 || last === undefined) return sorted;
    return [...sorted, { ...last, path: "", message: `and ${this.#left} more problems` }];
  }

  get warnings(): Problem[] {
    return this.#warnings.toSorted((a, b) => a.line - b.line || a.column - b.column);
  }
}
