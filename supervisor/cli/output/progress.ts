/** How a transfer gets on, for people: a bar for each layer on a terminal, plain lines elsewhere. */

import { type Bar, MultiBar, type Options, type Params } from "cli-progress";
import { shown } from "./escape.ts";
import { decimalSize } from "./size.ts";
import { note, type Sink } from "./terminal.ts";

/** One message of the Transfer service, as it comes (containerd.types.transfer.Progress). */
export interface ProgressStep {
  readonly event: string;
  /** What it is about; empty for the whole. */
  readonly name: string;
  readonly progress: number;
  readonly total: number;
  readonly desc?: { readonly mediaType: string; readonly digest: string } | undefined;
}

/** Shows one transfer. */
export interface ProgressView {
  step(step: ProgressStep): void;
  /** Bytes of an archive that went over. @param total undefined when nobody knows */
  bytes(done: number, total?: number): void;
  /** Leaves the terminal as it was, with the last state above the cursor. Safe to call twice. */
  end(): void;
}

/** Shows nothing. */
export const noProgress: ProgressView = { step: () => {}, bytes: () => {}, end: () => {} };

/** Progress goes to standard error: what is asked for goes to standard output. */
export function progressView(sink: Sink & NodeJS.WriteStream = process.stderr): ProgressView {
  return sink.isTTY && process.env["TERM"] !== "dumb" ? new BarView(sink) : new LineView(note);
}

/** What happens to a layer, in a person's words. */
const words: Readonly<Record<string, string>> = {
  waiting: "Waiting",
  downloading: "Downloading",
  uploading: "Uploading",
  extracting: "Extracting",
  complete: "Complete",
  extracted: "Complete",
  "already exists": "Already exists",
};
const ended: ReadonlySet<string> = new Set(["Complete", "Already exists"]);

/** The layer that a step is about; undefined for manifests, configurations and the whole. */
function layerOf({ desc, name }: ProgressStep): string | undefined {
  const digest = desc?.digest || /sha\d+:[0-9a-f]+$/.exec(name)?.[0];
  if (!digest) return undefined;
  const isLayer = desc?.mediaType ? /layer|rootfs/.test(desc.mediaType) : name.startsWith("layer-");
  return isLayer ? digest : undefined;
}

function wordOf({ event }: ProgressStep): string {
  return words[event] ?? shown(event);
}

/** The first twelve digits of a digest. */
function shortDigest(digest: string): string {
  return shown(digest.slice(digest.indexOf(":") + 1, digest.indexOf(":") + 13));
}

/** A line when something begins and when it ends. */
export class LineView implements ProgressView {
  readonly #write: (line: string) => void;
  readonly #said = new Map<string, string>();

  constructor(write: (line: string) => void) {
    this.#write = write;
  }

  step(step: ProgressStep): void {
    const layer = layerOf(step);
    if (layer === undefined) {
      if (step.desc?.digest || /-sha\d+:/.test(step.name)) return;
      const about = step.name === "" ? "" : ` ${shown(step.name)}`;
      this.#say("", `${capital(shown(step.event))}${about}`);
      return;
    }
    const word = wordOf(step);
    const size = word === "Downloading" || word === "Uploading" ? ` ${decimalSize(step.total)}` : "";
    this.#say(layer, `${shortDigest(layer)}: ${word}${size}`);
  }

  bytes(): void {}

  end(): void {}

  #say(key: string, line: string): void {
    if (this.#said.get(key) === line) return;
    this.#said.set(key, line);
    this.#write(`${line}\n`);
  }
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

interface Row {
  readonly label: string;
  word: string;
  done: number;
  total: number;
  /** Undefined while the terminal has no line for it. */
  bar: Bar | undefined;
}

const BAR_MAX = 40;
/** The row of the archive as a whole. */
const ARCHIVE = "";

/** Bars. Where there are more layers than lines, ended ones go up and out, and others take their place. */
export class BarView implements ProgressView {
  readonly #bars: MultiBar;
  readonly #sink: Sink;
  readonly #rows = new Map<string, Row>();
  readonly #restore = (): void => this.end();
  #hasEnded = false;

  constructor(sink: Sink & NodeJS.WriteStream) {
    this.#sink = sink;
    const format = (_: Options, __: Params, { row }: { row: Row }): string => lineOf(row, this.#width);
    // Its own graceful exit would swallow signals.
    this.#bars = new MultiBar({
      stream: sink,
      format,
      hideCursor: true,
      forceRedraw: true,
      gracefulExit: false,
      linewrap: true,
    });
    process.once("exit", this.#restore);
  }

  get #width(): number {
    return this.#sink.columns || 80;
  }

  /** Lines that bars may take: the cursor cannot go back to what has left the screen. */
  get #room(): number {
    return Math.max(1, (this.#sink.rows || 24) - 2);
  }

  step(step: ProgressStep): void {
    const layer = layerOf(step);
    if (layer === undefined) return;
    this.#change(layer, shortDigest(layer), wordOf(step), step.progress, step.total);
  }

  bytes(done: number, total?: number): void {
    this.#change(ARCHIVE, "archive", done === total ? "Complete" : "Transferring", done, total ?? 0);
  }

  end(): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    process.off("exit", this.#restore);
    if (this.#bars.isActive) this.#bars.stop();
  }

  #change(key: string, label: string, word: string, done: number, total: number): void {
    if (this.#hasEnded) return;
    const row = this.#rows.get(key) ?? { label, word, done, total, bar: undefined };
    // What has ended stays so, whatever is told of it by another image of the same transfer.
    if (ended.has(row.word) && this.#rows.has(key)) return;
    this.#rows.set(key, row);
    Object.assign(row, { word, done, total });
    this.#place(row);
  }

  /** Gives a row a line, when there is one. */
  #place(row: Row): void {
    if (row.bar !== undefined) return;
    const shownRows = [...this.#rows.values()].filter(({ bar }) => bar !== undefined);
    if (shownRows.length < this.#room) {
      row.bar = this.#bars.create(1, 0, { row });
      return;
    }
    const gone = shownRows.find(({ word }) => ended.has(word));
    if (gone === undefined) return;
    this.#bars.log(`${lineOf(gone, this.#width)}\n`);
    row.bar = gone.bar;
    gone.bar = undefined;
    row.bar?.update(0, { row });
  }
}

/** One layer's line, as wide as the terminal allows; padded, so that it covers what was there before. */
function lineOf({ label, word, done, total }: Row, width: number): string {
  const head = `${label}: ${word}`;
  if (ended.has(word) || word === "Waiting" || (total <= 0 && done <= 0))
    return head.padEnd(width - 1).slice(0, width - 1);
  const sizes = total > 0 ? `${decimalSize(done)}/${decimalSize(total)}` : decimalSize(done);
  const room = Math.min(BAR_MAX, width - 1 - 27 - 19);
  const part = total > 0 ? Math.min(1, done / total) : 0;
  const bar = total > 0 && room >= 5 ? `[${drawn(part, room)}] ` : "";
  return `${head.padEnd(27)} ${bar}${sizes}`.padEnd(width - 1).slice(0, width - 1);
}

/** `=====>    `. @param part from 0 to 1 */
export function drawn(part: number, width: number): string {
  const full = Math.round(part * width);
  if (full >= width) return "=".repeat(width);
  return `${"=".repeat(Math.max(0, full - 1))}${full > 0 ? ">" : ""}`.padEnd(width);
}
