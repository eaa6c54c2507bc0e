/** A person at a terminal: a program on a pseudo terminal of ours, with keys to press and a screen to read. */

import type { Daemon } from "./daemon.ts";
import { waitFor } from "./wait.ts";

/** One program on a terminal. */
export class ProgramScreen {
  /** Everything that came since the last {@link clear}. */
  text = "";
  /** The client's exit code. */
  readonly exited: Promise<number>;
  readonly #child: Bun.Subprocess;

  constructor(
    argv: readonly string[],
    env: Record<string, string | undefined>,
    size: { rows: number; cols: number } = { rows: 24, cols: 80 },
  ) {
    const decoder = new TextDecoder();
    const child = Bun.spawn([...argv], {
      env,
      terminal: {
        ...size,
        data: (_, bytes) => {
          this.text += decoder.decode(bytes, { stream: true });
        },
      },
    });
    this.#child = child;
    this.exited = child.exited.then((code) => {
      child.terminal?.close();
      return code;
    });
  }

  /** Presses keys, and waits for what is expected to appear. @throws WaitTimeout */
  async type(keys: string, expected?: RegExp): Promise<void> {
    this.#child.terminal?.write(keys);
    if (expected === undefined) return;
    await waitFor(`${expected} on the screen`, () => expected.test(this.text)).catch((error: Error) => {
      error.message += `; it shows ${JSON.stringify(this.text.slice(-500))}`;
      throw error;
    });
  }

  /** Presses the same keys again and again on a clear screen until what is expected appears. @throws WaitTimeout */
  async repeat(keys: string, expected: RegExp): Promise<void> {
    await waitFor(`${expected} on the screen`, async () => {
      this.clear();
      await this.type(keys);
      await Bun.sleep(100);
      return expected.test(this.text);
    }).catch((error: Error) => {
      error.message += `; it shows ${JSON.stringify(this.text.slice(-500))}`;
      throw error;
    });
  }

  resize(rows: number, cols: number): void {
    this.#child.terminal?.resize(cols, rows);
  }

  clear(): void {
    this.text = "";
  }

  /** Sends the program a signal. */
  signal(name: NodeJS.Signals): void {
    this.#child.kill(name);
  }

  /** Ends the client as a crash would. */
  async kill(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.exited;
  }
}

/** One ctr on a terminal. */
export class Screen extends ProgramScreen {
  /** @param argv arguments of ctr */
  constructor(daemon: Daemon, argv: readonly string[], size?: { rows: number; cols: number }) {
    super(daemon.ctrCommand(argv), daemon.ctrEnv(), size);
  }
}
