/** Which directories patterns such as /media/[any name]/berth mean now, and what to watch to learn of others. */

import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";

/** Directories that one pattern may mean, at most: the rest is not looked at. */
const MAX_MATCHES = 64;

/** What patterns mean at a moment. */
export interface Places {
  /** Directories that are there. */
  readonly matches: readonly string[];
  /** Directories in which something may appear; to each what tells it from another at the same path. */
  readonly watched: ReadonlyMap<string, string>;
}

/** Looks at what is there. Links are not followed where a `*` stands: a stick may have any. */
export function findPlaces(patterns: readonly string[]): Places {
  const matches = new Set<string>();
  const watched = new Map<string, string>();
  for (const pattern of patterns) {
    let level = ["/"];
    for (const part of pattern.split("/").filter((name) => name !== "")) {
      const next: string[] = [];
      for (const directory of level) {
        const found = part === "*" ? directoriesIn(directory) : [join(directory, part)].filter(isDirectory);
        // Where all is there already, its own end is noticed by watching it.
        if (part === "*" || found.length === 0) note(watched, directory);
        next.push(...found);
      }
      level = next.slice(0, MAX_MATCHES);
    }
    for (const directory of level) {
      matches.add(directory);
      note(watched, directory);
    }
  }
  return { matches: [...matches], watched };
}

function note(watched: Map<string, string>, directory: string): void {
  const identity = identityOf(directory);
  if (identity !== undefined) watched.set(directory, identity);
}

/** What tells a directory from another of its path, such as what is mounted on it. */
function identityOf(path: string): string | undefined {
  try {
    const { dev, ino } = statSync(path);
    return `${dev}:${ino}`;
  } catch {
    return undefined;
  }
}

function isDirectory(path: string): boolean {
  try {
    return statSync(path).isDirectory();
  } catch {
    return false;
  }
}

function directoriesIn(directory: string): string[] {
  try {
    return readdirSync(directory, { withFileTypes: true })
      .filter((entry) => entry.isDirectory() && !entry.name.startsWith("."))
      .slice(0, MAX_MATCHES)
      .map(({ name }) => join(directory, name));
  } catch {
    return [];
  }
}
