/** FIFOs of a client of our own, and readers that can be stopped, killed and asked what they saw. */

import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { run } from "./command.ts";
import { processScope } from "./scope.ts";
import type { Stdio } from "./tasks.ts";

let made = 0;

/** Three FIFOs in a directory of their own, which lies outside of what a client would clean. */
export class Fifos {
  readonly dir: string;
  readonly stdin: string;
  readonly stdout: string;
  readonly stderr: string;
  readonly #readers: FifoReader[] = [];

  private constructor(dir: string) {
    this.dir = dir;
    this.stdin = join(dir, "stdin");
    this.stdout = join(dir, "stdout");
    this.stderr = join(dir, "stderr");
  }

  /** Makes the FIFOs. @throws CommandError */
  static async make(): Promise<Fifos> {
    const fifos = new Fifos(join(processScope().dir, `fifos${++made}`));
    mkdirSync(fifos.dir);
    await run(["mkfifo", fifos.stdin, fifos.stdout, fifos.stderr], { check: true });
    return fifos;
  }

  /** Output for a request: stdout's FIFO alone. */
  get out(): Stdio {
    return { stdout: this.stdout };
  }

  /** Input and output for a request, without stderr. */
  get inOut(): Stdio {
    return { stdin: this.stdin, stdout: this.stdout };
  }

  /** Begins to read stdout, by `cat` or the command given. */
  read(command: readonly string[] = ["cat"], path: string = this.stdout): FifoReader {
    const reader = new FifoReader(path, command);
    this.#readers.push(reader);
    return reader;
  }

  /** Ends all readers and removes the FIFOs. */
  async remove(): Promise<void> {
    for (const reader of this.#readers) await reader.kill();
    rmSync(this.dir, { recursive: true, force: true });
  }
}

/** A process that reads a FIFO. It waits for a writer, and ends with the last of them. */
export class FifoReader {
  /** What the process printed so far. */
  text = "";
  readonly #child: Bun.Subprocess<"ignore", "pipe", "inherit">;
  readonly #done: Promise<void>;

  constructor(path: string, command: readonly string[]) {
    this.#child = Bun.spawn(["sh", "-c", 'path=$1; shift; exec "$@" < "$path"', "sh", path, ...command], {
      stdin: "ignore",
      stdout: "pipe",
      stderr: "inherit",
    });
    this.#done = this.#read();
  }

  get pid(): number {
    return this.#child.pid;
  }

  async #read(): Promise<void> {
    const decoder = new TextDecoder();
    for await (const chunk of this.#child.stdout) this.text += decoder.decode(chunk, { stream: true });
  }

  /** What the process has printed at its end: it saw the end of the FIFO. */
  async end(timeout = 10_000): Promise<string> {
    const late = Symbol();
    const first = await Promise.race([this.#done, Bun.sleep(timeout).then(() => late)]);
    if (first === late) throw new Error(`the reader did not see the end of the FIFO in ${timeout} ms`);
    await this.#child.exited;
    return this.text;
  }

  /** Sends a signal, such as SIGSTOP and SIGCONT. */
  signal(name: NodeJS.Signals): void {
    this.#child.kill(name);
  }

  /** Ends the reader as a crash would. */
  async kill(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#child.exited;
    await this.#done;
  }
}
