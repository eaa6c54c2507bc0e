/** A runc that fails on cue (fake-runc.sh), chosen by Options.binary_name. */

import { chmodSync, copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { waitFor } from "../lib/wait.ts";

/** The verbs of runc that the shim uses. */
export type RuncVerb =
  | "create"
  | "start"
  | "exec"
  | "kill"
  | "delete"
  | "ps"
  | "pause"
  | "resume"
  | "update"
  | "features"
  | "checkpoint";

/** Shell text for {@link FakeRunc.on}; `done` marks that the fault has happened. */
export const faults = {
  /** Waits for ever. */
  hang: `: >"$dir/reached"; exec sleep 1000`,
  /** Waits for ever in a child that holds runc's streams, as a hook would. */
  hangInChild: `: >"$dir/reached"; sleep 1000; exit 1`,
  /** Waits for a file named "go" beside the program, then does its work. */
  hold: `: >"$dir/reached"; while [ ! -e "$dir/go" ]; do sleep 0.02; done`,
  /** Does its work, then waits as {@link faults.hold} does. */
  holdAfter: `"$real" "$@"; : >"$dir/reached"; while [ ! -e "$dir/go" ]; do sleep 0.02; done; exit 0`,
  /** Does its work, then waits for ever. */
  hangAfter: `"$real" "$@"; : >"$dir/reached"; exec sleep 1000`,
  /** Waits for ever at the moment when runc's own executable is bound over a file of the container's directory. */
  hangBound: `mkdir -p "$root/$id"; touch "$root/$id/runc.x"; mount --bind "$real" "$root/$id/runc.x"; : >"$dir/reached"; exec sleep 1000`,
  /** Dies at once. */
  dieAtOnce: `kill -9 $$`,
  /** Does its work, then dies of a signal. */
  dieAfter: `"$real" "$@"; kill -9 $$`,
  /** Does its work, then fails in silence. */
  failAfter: `"$real" "$@"; exit 7`,
  /** Fails in silence. */
  fail: `exit 7`,
  /** Says that it is done, and does nothing. */
  lie: `exit 0`,
  /** Prints 100 MB that mean nothing, on both streams, and succeeds. */
  rubbish: `head -c 100000000 /dev/zero | tr '\\0' 'x'; head -c 1000000 /dev/zero >&2; exit 0`,
  /** Prints 100 MB that mean nothing and fails. */
  rubbishAndFail: `head -c 100000000 /dev/zero | tr '\\0' 'x'; exit 1`,
  /** Does its work, and writes rubbish into the pid file. */
  rubbishPid: `"$real" "$@" && printf 'not a pid' >"$pid_file"; exit`,
  /** Does its work, and leaves no pid file. */
  noPid: `"$real" "$@" && rm -f "$pid_file"; exit`,
  /** Fails with a log that is not JSON. */
  rubbishLog: `head -c 100000 /dev/urandom >"$log"; exit 1`,
} as const;

/** One fake runc in a directory of its own. */
export class FakeRunc {
  readonly dir: string;

  /** @param dir made when missing */
  constructor(dir: string) {
    this.dir = dir;
    mkdirSync(dir, { recursive: true });
    copyFileSync(join(import.meta.dir, "fake-runc.sh"), this.path);
    chmodSync(this.path, 0o755);
    writeFileSync(join(dir, "real"), Bun.which("runc") ?? "");
  }

  /** For Options.binary_name. */
  get path(): string {
    return join(this.dir, "runc");
  }

  /**
   * From now on a verb does this first.
   * @param script one of {@link faults}, or shell text of the test's own
   */
  on(verb: RuncVerb, script: string): void {
    this.clear();
    writeFileSync(join(this.dir, `on-${verb}`), `${script}\n`);
  }

  /** From now on everything goes to the real runc; what {@link faults.hold} holds goes on. */
  clear(): void {
    for (const name of ["create", "start", "exec", "kill", "delete", "ps", "pause", "resume", "update", "features"]) {
      rmSync(join(this.dir, `on-${name}`), { force: true });
    }
    for (const name of ["reached", "go"]) rmSync(join(this.dir, name), { force: true });
  }

  /** Lets what {@link faults.hold} holds go on. */
  release(): void {
    writeFileSync(join(this.dir, "go"), "");
  }

  /** Waits until a fault that waits has been reached. */
  async reached(): Promise<void> {
    await waitFor("runc to reach its fault", () => existsSync(join(this.dir, "reached")));
  }

  /** The arguments of every call so far. */
  calls(): string[] {
    const path = join(this.dir, "calls");
    return existsSync(path) ? readFileSync(path, "utf8").trimEnd().split("\n") : [];
  }
}
