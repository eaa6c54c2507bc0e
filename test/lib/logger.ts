/** The logging binary of the tests, and what it wrote down. */

import { existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { root } from "./paths.ts";
import { processScope } from "./scope.ts";

const program = join(root, "test/fixtures/programs/logger.sh");

let made = 0;

/** Where one logger of the tests writes what it is given. */
export class LoggerFiles {
  readonly dir: string;

  constructor() {
    this.dir = join(processScope().dir, `logger${++made}`);
    mkdirSync(this.dir);
  }

  /** The address of a logger of this mode. */
  uri(mode: string, more = "", scheme = "binary"): string {
    return `${scheme}://${program}?dir=${encodeURIComponent(this.dir)}&mode=${mode}${more}`;
  }

  read(name: string): string {
    return readFileSync(join(this.dir, name), "utf8");
  }

  has(name: string): boolean {
    return existsSync(join(this.dir, name));
  }

  get pid(): number {
    return Number(this.read("pid"));
  }

  remove(): void {
    rmSync(this.dir, { recursive: true });
  }
}
