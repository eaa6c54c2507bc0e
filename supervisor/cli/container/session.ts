/**
 * A person, or a pipe, at a process in a container: what is typed goes in, output comes out, the terminal has the size of
 * ours, and signals go on to the process.
 */

import { ContainerdError } from "../../../proto/errdefs.ts";
import { Code } from "../../../proto/ttrpc/status.ts";
import type { Api } from "../../client/api.ts";
import { signalNumber } from "../../container/signals.ts";
import { type Exit, isNotFound, killTask, TASKS, taskOf, waitFor } from "../../container/task.ts";
import { note } from "../output/terminal.ts";
import { DetachKeys } from "./keys.ts";
import type { Streams, Take } from "./streams.ts";

/** Signals that a process without a terminal gets in our place. */
const proxied = ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGCONT"] as const;
/** So many of SIGINT and SIGTERM mean it. */
const INSISTING = 3;
/** A daemon that restarts is waited for so long. */
const AWAY_MS = 60_000;
const RETRY_MS = 200;

/** Which process, and what of it is ours. */
export interface SessionOptions {
  readonly api: Api;
  readonly namespace: string;
  readonly id: string;
  /** Empty for the container's own process. */
  readonly execId: string;
  readonly tty: boolean;
  /** What we get goes in. */
  readonly stdin: boolean;
  readonly detachKeys: readonly number[];
  /** Signals go on to the process. */
  readonly proxy: boolean;
}

/** How a session ended. */
export type SessionEnd = { readonly kind: "exited"; readonly exit: Exit } | { readonly kind: "detached" };

/** Writes to our standard output; a reader that has gone does not hold the container up. */
export const toStdout: Take = async (bytes) => {
  // Writing nothing would make a file empty.
  if (bytes.length > 0) await Bun.write(Bun.stdout, bytes).catch(() => undefined);
};
/** The same for errors. */
export const toStderr: Take = async (bytes) => {
  if (bytes.length > 0) await Bun.write(Bun.stderr, bytes).catch(() => undefined);
};

/** One session. Open it when the process exists, and begin before it runs. */
export class Session {
  readonly #options: SessionOptions;
  readonly #streams: Streams | undefined;
  readonly #detached = Promise.withResolvers<SessionEnd>();
  readonly #cleanups: (() => void)[] = [];
  #exited: Promise<SessionEnd> | undefined;
  #insisted = 0;

  /** @param streams of the process; without them, output is somebody else's and nothing goes in */
  constructor(options: SessionOptions, streams?: Streams) {
    this.#options = options;
    this.#streams = streams;
  }

  /** Waits for the process's end from now on, and takes its output: call it when the process exists and does not run. */
  begin(): void {
    this.#exited = this.#wait().then((exit) => ({ kind: "exited", exit }));
    // Whoever asks for the end sees the error.
    this.#exited.catch(() => undefined);
    if (this.#options.proxy && !this.#options.tty) this.#proxySignals();
  }

  /** The process runs: what is typed goes in. */
  started(): void {
    const { tty, stdin } = this.#options;
    // Not before: a shim may open them as late as that.
    this.#streams?.release();
    if (tty) this.#followSize();
    if (!stdin || this.#streams === undefined) return;
    if (tty && process.stdin.isTTY) {
      process.stdin.setRawMode(true);
      this.#cleanups.push(() => process.stdin.setRawMode(false));
    }
    void this.#copyInput(this.#streams);
  }

  /** Resolves when the process has ended, or was left. @throws CallError */
  async ended(): Promise<SessionEnd> {
    if (this.#exited === undefined) throw new Error("the session has not begun");
    try {
      return await Promise.race([this.#exited, this.#detached.promise]);
    } finally {
      this.close();
    }
  }

  /** Gives the terminal back. */
  close(): void {
    for (const cleanup of this.#cleanups.splice(0)) cleanup();
    process.stdin.pause();
  }

  /** Waits, also while the daemon restarts: the container goes on without it. */
  async #wait(): Promise<Exit> {
    const { api, namespace, id, execId } = this.#options;
    let since: number | undefined;
    for (;;) {
      try {
        return await waitFor(api, namespace, id, execId);
      } catch (error) {
        const isAway =
          error instanceof ContainerdError && (error.code === Code.Unavailable || error.code === Code.Canceled);
        since ??= performance.now();
        if (!isAway || performance.now() - since > AWAY_MS) throw error;
        await Bun.sleep(RETRY_MS);
        const state = await taskOf(api, namespace, id, execId).catch(() => undefined);
        if (state?.status === "stopped") return { status: state.exitStatus, at: state.exitedAt };
        if (state !== undefined) since = undefined;
      }
    }
  }

  async #copyInput(streams: Streams): Promise<void> {
    const { api, namespace, id, execId, tty, detachKeys } = this.#options;
    const keys = new DetachKeys(tty ? detachKeys : []);
    for await (const chunk of process.stdin) {
      const { bytes, isDetached } = keys.take(chunk as Uint8Array);
      if (bytes.length > 0 && !(await streams.write(bytes))) return;
      if (isDetached) {
        this.#detached.resolve({ kind: "detached" });
        return;
      }
    }
    streams.closeInput();
    await api.call(TASKS, "CloseIO", { containerId: id, execId, stdin: true }, { namespace }).catch(() => undefined);
  }

  #followSize(): void {
    const { api, namespace, id, execId } = this.#options;
    if (!process.stdout.isTTY) return;
    const resize = (): void => {
      const { columns: width, rows: height } = process.stdout;
      if (!width || !height) return;
      const request = { containerId: id, execId, width, height };
      void api.call(TASKS, "ResizePty", request, { namespace }).catch(() => undefined);
    };
    resize();
    process.stdout.on("resize", resize);
    this.#cleanups.push(() => process.stdout.off("resize", resize));
  }

  #proxySignals(): void {
    const { api, namespace, id, execId } = this.#options;
    for (const name of proxied) {
      const forward = (): void => {
        if (name === "SIGINT" || name === "SIGTERM") this.#insisted++;
        const insists = this.#insisted >= INSISTING;
        if (insists) note(`${id} does not end by ${name}: it is killed\n`);
        void killTask(api, namespace, id, insists ? 9 : signalNumber(name), { execId }).catch((error: unknown) => {
          if (!isNotFound(error)) note(`berth: ${name} did not reach ${id}\n`);
        });
      };
      process.on(name, forward);
      this.#cleanups.push(() => process.off(name, forward));
    }
  }
}
