/**
 * A live view on a terminal: the alternate screen, keys, resizes, and a terminal that is left as it was, however the
 * process ends (but for SIGKILL).
 */

import { writeSync } from "node:fs";

/** What the view is told. */
export interface LiveHandlers {
  /** A key: a character, or `up`, `down`, `page-up`, `page-down`, `home`, `end`, `enter`, `escape`, `ctrl-c`. */
  onKey(key: string): void;
  /** The terminal has another size. */
  onResize(): void;
  /** A signal asks for the end. */
  onSignal(signal: NodeJS.Signals): void;
}

const signals = ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT"] as const;
const ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J\x1b[H";
const LEAVE = "\x1b[?7h\x1b[?25h\x1b[?1049l";

const keys: Readonly<Record<string, string>> = {
  "\x1b[A": "up",
  "\x1bOA": "up",
  "\x1b[B": "down",
  "\x1bOB": "down",
  "\x1b[5~": "page-up",
  "\x1b[6~": "page-down",
  "\x1b[H": "home",
  "\x1b[1~": "home",
  "\x1b[F": "end",
  "\x1b[4~": "end",
  "\r": "enter",
  "\n": "enter",
  "\x1b": "escape",
  "\x03": "ctrl-c",
};

/** The keys in what a terminal sends at once. */
export function keysOf(text: string): string[] {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: terminals send them
  const parts = text.match(/\x1b(?:\[[\d;]*[A-Za-z~]|O[A-Za-z])|[\s\S]/gu) ?? [];
  return parts.map((part) => keys[part] ?? part).filter((key) => key.length === 1 || !key.startsWith("\x1b"));
}

/** One view. */
export class LiveScreen {
  readonly #out = process.stdout;
  readonly #in = process.stdin;
  readonly #handlers: LiveHandlers;
  #drawn: string[] = [];
  #isOpen = false;

  constructor(handlers: LiveHandlers) {
    this.#handlers = handlers;
  }

  /** Columns and rows. */
  get size(): { columns: number; rows: number } {
    return { columns: this.#out.columns || 80, rows: this.#out.rows || 24 };
  }

  /** Takes the terminal. */
  open(): void {
    if (this.#isOpen) return;
    this.#isOpen = true;
    process.once("exit", this.close);
    for (const signal of signals) process.on(signal, this.#handlers.onSignal);
    if (this.#in.isTTY) {
      this.#in.setRawMode(true);
      this.#in.resume();
      this.#in.on("data", this.#onData);
    }
    this.#out.on("resize", this.#onResize);
    put(ENTER);
  }

  /** Gives the terminal back. Safe to call twice. */
  readonly close = (): void => {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    process.off("exit", this.close);
    for (const signal of signals) process.off(signal, this.#handlers.onSignal);
    this.#out.off("resize", this.#onResize);
    if (this.#in.isTTY) {
      this.#in.off("data", this.#onData);
      this.#in.setRawMode(false);
      this.#in.pause();
    }
    put(LEAVE);
  };

  /** Shows lines, cut to the screen's height; writes only those that differ. They must not be wider than the screen. */
  draw(lines: readonly string[]): void {
    if (!this.#isOpen) return;
    const { rows } = this.size;
    const wanted = Array.from({ length: rows }, (_, row) => lines[row] ?? "");
    let text = "";
    wanted.forEach((line, row) => {
      if (line !== this.#drawn[row]) text += `\x1b[${row + 1};1H\x1b[2K${line}\x1b[0m`;
    });
    this.#drawn = wanted;
    if (text !== "") put(text);
  }

  readonly #onData = (data: Buffer | string): void => {
    for (const key of keysOf(data.toString())) this.#handlers.onKey(key);
  };

  readonly #onResize = (): void => {
    // What stands on the screen after a resize, only the terminal knows.
    this.#drawn = [];
    put("\x1b[2J");
    this.#handlers.onResize();
  };
}

/** Writes at once, so that nothing is lost when the process ends. */
function put(text: string): void {
  const bytes = Buffer.from(text);
  for (let at = 0; at < bytes.length; ) {
    try {
      at += writeSync(1, bytes, at);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EAGAIN") return;
      Bun.sleepSync(2);
    }
  }
}
