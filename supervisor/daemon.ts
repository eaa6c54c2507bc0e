/** The daemon: the one place where its rooms are wired together. */

import { mkdirSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Config } from "./config.ts";
import { Exchange } from "./event/exchange.ts";
import { GrpcServer } from "./grpc/server.ts";
import { versionService } from "./grpc/version.ts";
import { Database } from "./store/database.ts";
import { migrations } from "./store/schema.ts";

/** A running daemon. */
export class Daemon {
  readonly #database: Database;
  readonly #server = new GrpcServer();

  private constructor(database: Database) {
    this.#database = database;
  }

  /**
   * Starts a daemon; when this resolves, clients can connect.
   * @throws Error when another daemon has the root, or the socket cannot be made
   */
  static async start(config: Config): Promise<Daemon> {
    mkdirSync(config.root, { recursive: true, mode: 0o711 });
    mkdirSync(config.state, { recursive: true, mode: 0o711 });
    mkdirSync(dirname(config.address), { recursive: true });
    const daemon = new Daemon(new Database(join(config.root, "berth.db"), migrations));
    const exchange = new Exchange();
    void exchange;
    daemon.#server.register("containerd.services.version.v1.Version", versionService());
    rmSync(config.address, { force: true });
    await daemon.#server.listen(config.address);
    return daemon;
  }

  /** Ends: clients are cut off, containers live on. */
  async stop(): Promise<void> {
    await this.#server.stop(1000);
    this.#database.close();
  }
}
