/** A berthd of our own, with the interface of the tests' containerd: whatever runs under the one runs under the other. */

import { existsSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { Daemon, type DaemonOptions } from "./daemon.ts";
import { dist } from "./paths.ts";

/** The executable that the build makes. */
export const builtBerthd = join(dist, "berthd");

/** True when `BERTH_TEST_DAEMON=berthd` asks for berthd in containerd's place. */
export const testsBerthd = process.env["BERTH_TEST_DAEMON"] === "berthd";

/** One private berthd. Stop it, kill it, start it again: its state stays until {@link Daemon.remove}. */
export class Berthd extends Daemon {
  #debug = false;

  protected override get name(): string {
    return "berthd";
  }

  /** Nothing is written: everything is said by flags. @throws Error for what only containerd's configuration knows */
  protected override configure(options: DaemonOptions): void {
    if (options.config !== undefined) throw new Error("berthd does not read containerd's configuration");
    if (!existsSync(builtBerthd)) throw new Error(`${builtBerthd} is missing: npm run build makes it`);
  }

  /** Called after the constructor of {@link Daemon}, which already needs {@link configure}. */
  constructor(dir: string, namespace: string, options: DaemonOptions = {}) {
    super(dir, namespace, options);
    this.#debug = options.debug ?? false;
  }

  protected override command(): string[] {
    const level = this.#debug ? ["--log-level", "debug"] : [];
    return [builtBerthd, "--root", this.root, "--state", this.state, "--address", this.address, ...level];
  }

  /**
   * It says so, and listens. Either alone is not enough: a child that a killed daemon was just starting has its socket
   * for a moment more.
   */
  protected override async isReady(log: string): Promise<boolean> {
    return log.includes("berthd is ready") && (await canConnect(this.address));
  }
}

/** The daemon under test: containerd of the PATH, or berthd where {@link testsBerthd}. */
export function makeDaemon(dir: string, namespace: string, options: DaemonOptions = {}): Daemon {
  return testsBerthd ? new Berthd(dir, namespace, options) : new Daemon(dir, namespace, options);
}

/** True when somebody listens on a unix socket. */
export function canConnect(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    const end = (answer: boolean): void => {
      socket.destroy();
      resolve(answer);
    };
    socket.once("connect", () => end(true));
    socket.once("error", () => end(false));
  });
}
