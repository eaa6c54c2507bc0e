/**
 * The standard streams of one process: opened before runc is called, handed over to it, and closed after the process.
 *
 * What can be handed over without a copy is: output FIFOs of an init process, and the pipes of a logger. Everything else
 * is copied: see copy.ts for why. Input is, because opening /dev/stdin anew would wait for a writer for ever if it were a
 * FIFO whose writers have gone; a pipe's end is an end.
 */

import { deadlines } from "../../../proto/deadlines.ts";
import { failedPrecondition } from "../../../proto/errdefs.ts";
import { ConsoleSocket, resize } from "../../linux/console.ts";
import { changeOwner, close, duplicate, O, open, pipe, setNonBlocking, setPipeSize } from "../../linux/file.ts";
import type { Reaper } from "../../linux/reaper.ts";
import { Copy, type Copying, drain, pipeSink } from "./copy.ts";
import { OutputFifo } from "./fifo.ts";
import { fileSink } from "./file.ts";
import { InputFifo } from "./input.ts";
import { copyToLog } from "./log-copy.ts";
import { Logger } from "./logger.ts";
import type { Sink } from "./sink.ts";
import { parseTarget, type Target } from "./uri.ts";

/** Room for the work of a longer turn: what is read at once is formatted and written at once. */
const LOG_PIPE_BYTES = 1 << 20;

/** The addresses of a request, as State repeats them. */
export interface StdioAddresses {
  readonly stdin: string;
  readonly stdout: string;
  readonly stderr: string;
  readonly terminal: boolean;
}

/** For whom the streams are opened. */
export interface StdioOwner {
  /** The container's id, or the exec's: the logger is told, and log lines name it. */
  readonly id: string;
  readonly namespace: string;
  /** An exec's output is always copied (R16). */
  readonly isExec: boolean;
  /** Options.io_uid and io_gid: who owns pipes (IO-8). */
  readonly uid: number;
  readonly gid: number;
  readonly reaper: Reaper;
  /** Where the socket for a terminal is made, and its name there. */
  readonly directory: string;
  readonly name: string;
  /** Aborted when the request is given up. */
  readonly signal?: AbortSignal;
}

/** The standard streams of a process. */
export class Stdio {
  /** Descriptors 0, 1 and 2 for runc; undefined with a terminal. */
  fds: readonly number[] | undefined;
  /** Where runc sends the terminal; undefined without one. */
  console: ConsoleSocket | undefined;
  readonly #owner: StdioOwner;
  readonly #outputs: OutputFifo[] = [];
  readonly #copies: Copying[] = [];
  /** Descriptors that only the process needs. */
  #handedOver: number[] = [];
  #input: InputFifo | undefined;
  /** Our end of the pipe that is the process's stdin, until the copy has it. */
  #inputWriter = -1;
  #inputCopy: Copy | undefined;
  #logger: Logger | undefined;
  #master = -1;
  /** The sink of a terminal's output and where its input comes from, until the terminal is there. */
  #terminalSink: Sink | undefined;
  /** The terminal's output goes to a log file. */
  #isLog = false;
  #closed = false;

  private constructor(owner: StdioOwner) {
    this.#owner = owner;
  }

  /**
   * Opens the streams.
   * @throws ContainerdError; then nothing stays open
   */
  static async open(addresses: StdioAddresses, owner: StdioOwner): Promise<Stdio> {
    const stdin = parseTarget(addresses.stdin, "stdin");
    const stdout = parseTarget(addresses.stdout, "stdout");
    const stderr = parseTarget(addresses.terminal ? "" : addresses.stderr, "stderr");
    const stdio = new Stdio(owner);
    try {
      if (addresses.terminal) await stdio.#openTerminal(stdin, stdout);
      else await stdio.#openStreams(stdin, stdout, stderr);
      return stdio;
    } catch (error) {
      stdio.close();
      throw error;
    }
  }

  /** To be called when runc has ended well: takes the terminal, and closes what the process now has itself. */
  started(): void {
    if (this.console !== undefined) this.#takeTerminal(this.console);
    if (this.#inputWriter >= 0) this.#copyInput(this.#inputWriter);
    this.#inputWriter = -1;
    this.#release();
  }

  /** Sets the size of the terminal; without one nothing happens. @throws ErrnoError */
  resize(width: number, height: number): void {
    if (this.#master >= 0) resize(this.#master, width, height);
  }

  /** Lets the process see the end of its input once it has read everything (CloseIO). */
  closeStdin(): void {
    this.#input?.end();
  }

  /** Waits until all output has been passed on, within the limit of IO-5. */
  async drain(): Promise<void> {
    await Promise.all([drain(this.#copies), this.#logger?.drain()]);
    await this.settle(deadlines.readerStall, deadlines.drain);
  }

  /**
   * Waits until clients have read what the process has written, as long as they go on reading. A client may close its
   * end as soon as it hears of the exit (ctr does), and what then is still in the pipe would be lost (R17, IO-5).
   * It does not wait for the end of the streams, which a child of the process may hold open (R16).
   * @param stall milliseconds without progress after which nobody is taken to read
   * @param limit milliseconds in all
   */
  async settle(stall: number = deadlines.exitStall, limit: number = deadlines.exitSettle): Promise<void> {
    let unread = this.#unread();
    const end = performance.now() + limit;
    let stalled = performance.now() + stall;
    for (let pause = 1; unread > 0; pause = Math.min(pause * 2, 10)) {
      const now = performance.now();
      if (now > stalled || now > end) return;
      await Bun.sleep(pause);
      const left = this.#unread();
      if (left < unread) stalled = now + stall;
      unread = left;
    }
  }

  #unread(): number {
    let sum = 0;
    for (const copy of this.#copies) sum += copy.unread;
    for (const output of this.#outputs) sum += output.unread;
    return this.#closed ? 0 : sum;
  }

  /** Closes everything; to be called once the process has exited or never was. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#release();
    this.#inputCopy?.stop();
    for (const copy of this.#copies) copy.stop();
    this.#terminalSink?.close();
    for (const output of this.#outputs) output.close();
    this.#input?.close();
    this.#logger?.close();
    close(this.#inputWriter);
    this.#inputWriter = -1;
    close(this.#master);
    this.#master = -1;
  }

  async #openStreams(stdin: Target, stdout: Target, stderr: Target): Promise<void> {
    if (stdout.kind === "binary") {
      const { id, namespace, reaper } = this.#owner;
      this.#logger = await Logger.start(stdout, id, namespace, reaper);
      for (const fd of this.#logger.writers) this.#chown(fd);
    } else if (stderr.kind === "binary") {
      throw failedPrecondition("a logging binary for stderr alone is not supported: name it for stdout");
    }
    const output = async (target: Target, stream: "stdout" | "stderr", index: 0 | 1): Promise<number> => {
      if (this.#logger !== undefined) return this.#logger.writers[index];
      if (target.kind === "file") return await this.#logTo(target, stream);
      if (target.kind === "fifo") return await this.#fifo(target.path, stream);
      return this.#null();
    };
    this.fds = [this.#stdin(stdin), await output(stdout, "stdout", 0), await output(stderr, "stderr", 1)];
  }

  #stdin(target: Target): number {
    if (target.kind === "null") return this.#null();
    if (target.kind !== "fifo") throw failedPrecondition(`stdin can only be a FIFO, not ${target.kind}://`);
    this.#input = new InputFifo(target.path, `stdin of ${this.#owner.id}`);
    const [reader, writer] = pipe();
    setNonBlocking(writer, true);
    this.#inputWriter = writer;
    this.#handedOver.push(reader);
    this.#chown(reader);
    return reader;
  }

  /** Copies the client's input to a descriptor that is closed at its end. */
  #copyInput(fd: number): void {
    if (this.#input === undefined) return;
    this.#inputCopy = new Copy(
      this.#input.takeReader(),
      sinkTo(fd, () => close(fd)),
    );
  }

  async #fifo(path: string, stream: string): Promise<number> {
    const fifo = await OutputFifo.open(path, `${stream} of ${this.#owner.id}`, this.#owner.signal);
    this.#outputs.push(fifo);
    if (this.#owner.isExec) {
      return this.#copyTo(sinkTo(fifo.writer, () => fifo.releaseWriter()));
    }
    const fd = fifo.handOver();
    this.#chown(fd);
    return fd;
  }

  async #logTo(target: { path: string; query: string }, stream: "stdout" | "stderr"): Promise<number> {
    const writer = this.#copyTo(await fileSink(target, stream), copyToLog);
    setPipeSize(writer, LOG_PIPE_BYTES);
    return writer;
  }

  /** A pipe whose content goes to the sink; returns the end that the process writes to. */
  #copyTo(sink: Sink, copy: (fd: number, sink: Sink) => Copying = (fd, to) => new Copy(fd, to)): number {
    const [reader, writer] = pipe();
    setNonBlocking(reader, true);
    this.#copies.push(copy(reader, sink));
    this.#handedOver.push(writer);
    this.#chown(writer);
    return writer;
  }

  #null(): number {
    const fd = open("/dev/null", O.RDWR);
    this.#handedOver.push(fd);
    return fd;
  }

  #chown(fd: number): void {
    const { uid, gid } = this.#owner;
    if (uid !== 0 || gid !== 0) changeOwner(fd, uid, gid);
  }

  async #openTerminal(stdin: Target, stdout: Target): Promise<void> {
    const { id, namespace, reaper, directory, name, signal } = this.#owner;
    if (stdin.kind === "fifo") this.#input = new InputFifo(stdin.path, `stdin of ${id}`);
    else if (stdin.kind !== "null") throw failedPrecondition(`stdin can only be a FIFO, not ${stdin.kind}://`);
    if (stdout.kind === "fifo") {
      const fifo = await OutputFifo.open(stdout.path, `terminal of ${id}`, signal);
      this.#outputs.push(fifo);
      this.#terminalSink = sinkTo(fifo.writer, () => fifo.releaseWriter());
    } else if (stdout.kind === "file") {
      this.#terminalSink = await fileSink(stdout, "stdout");
      this.#isLog = true;
    } else if (stdout.kind === "binary") {
      this.#logger = await Logger.start(stdout, id, namespace, reaper);
      const own = duplicate(this.#logger.writers[0]);
      setNonBlocking(own, true);
      this.#terminalSink = sinkTo(own, () => close(own));
    } else {
      this.#terminalSink = { write: () => {}, close: () => {} };
    }
    this.console = new ConsoleSocket(directory, `${name}.console`);
  }

  #takeTerminal(socket: ConsoleSocket): void {
    this.#master = socket.receive();
    const sink = this.#terminalSink;
    this.#terminalSink = undefined;
    setNonBlocking(this.#master, true);
    if (sink !== undefined) {
      const own = duplicate(this.#master);
      this.#copies.push(this.#isLog ? copyToLog(own, sink) : new Copy(own, sink));
    }
    if (this.#input !== undefined) this.#copyInput(duplicate(this.#master));
  }

  #release(): void {
    this.console?.close();
    this.console = undefined;
    for (const fd of this.#handedOver) close(fd);
    this.#handedOver = [];
    this.#logger?.releaseWriters();
    // Copied FIFOs keep their writer until the copy ends; handed-over ones belong to the process now.
    if (!this.#owner.isExec && this.fds !== undefined) {
      for (const output of this.#outputs) output.releaseWriter();
    }
  }
}

/** A sink that writes to a descriptor, and what happens to the descriptor after the last write. */
function sinkTo(fd: number, release: () => void): Sink {
  const sink = pipeSink(fd);
  const close = () => {
    sink.close();
    release();
  };
  return { ...sink, close };
}
