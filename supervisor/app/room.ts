/** Applications in the daemon: their records, the directory that is watched, and the way to the machine. */

import { join } from "node:path";
import { LocalApi } from "../client/local.ts";
import type { Config } from "../config.ts";
import type { Exchange } from "../event/exchange.ts";
import { appsService } from "../grpc/apps.ts";
import type { GrpcServer } from "../grpc/server.ts";
import type { Log } from "../log/log.ts";
import type { Family } from "../metrics/text.ts";
import type { Description } from "../restart/watched.ts";
import { Applications } from "./applications.ts";
import { type Describing, describeAll } from "./describe.ts";
import { Engine } from "./engine.ts";
import { appFamilies } from "./families.ts";
import { LocalMachine } from "./local.ts";
import { restartInterrupted } from "./reboot.ts";
import { AppStore } from "./state.ts";
import { AppFiles } from "./watch.ts";

/** What applications need of other rooms. */
export interface AppRoomOptions {
  readonly config: Config;
  readonly log: Log;
  readonly exchange: Exchange;
  readonly server: GrpcServer;
  /** Resolves when the tasks of an earlier daemon are known. */
  readonly loaded: Promise<unknown>;
  readonly describe: (namespace: string, id: string) => Description | undefined;
  readonly restart: (namespace: string, id: string, reason: string, wasWell: boolean) => Promise<void>;
}

/** A service that others wait to be over has so long. */
const COMPLETION_MS = 3_600_000;
/** Added to what a health check needs until it has decided. */
const MARGIN_MS = 15_000;
/** An image that has come is tried in a moment: its record may come before its layers are told of. */
const IMAGE_MS = 500;

/** The room of one daemon. */
export class AppRoom {
  readonly #applications: Applications;
  readonly #files: AppFiles;
  readonly #describing: Describing;
  readonly #controller = new AbortController();

  private constructor(applications: Applications, files: AppFiles, describing: Describing) {
    this.#applications = applications;
    this.#files = files;
    this.#describing = describing;
  }

  /** Reads what is kept, registers the service, and begins as soon as the tasks are known. */
  static open(options: AppRoomOptions): AppRoom {
    const { config, log, exchange, server, loaded, describe, restart } = options;
    const machine = new LocalMachine({ api: new LocalApi(server), exchange, root: config.root, describe, restart });
    const store = new AppStore(join(config.root, "apps"));
    const { directory, namespace, stable: stableMs, startTimeout: startMs } = config.apps;
    const settings = { stableMs, startMs, marginMs: MARGIN_MS, completionMs: COMPLETION_MS };
    const engine = new Engine(machine, store, settings);
    const applications = new Applications({ machine, store, engine, log });
    const files = new AppFiles({
      ...{ directory, namespace, applications, log },
      onProblem: ({ name, message }) =>
        machine.publish(namespace, { name, revision: 0, what: "invalid", reason: message }),
    });
    const describing = { applications, machine, store, directory, problems: () => files.problems };
    server.register("berth.v1.Applications", appsService(describing));
    const room = new AppRoom(applications, files, describing);
    void loaded.then(
      async () => {
        await restartInterrupted(machine, applications.states, log);
        if (room.#controller.signal.aborted) return;
        applications.resume();
        if (directory !== "") files.start();
        await room.#followImages(exchange);
      },
      () => undefined,
    );
    return room;
  }

  /** What Prometheus is told. */
  async families(): Promise<readonly Family[]> {
    return appFamilies(await describeAll(this.#describing), this.#applications.counts);
  }

  async stop(): Promise<void> {
    this.#controller.abort();
    this.#files.stop();
    await this.#applications.stop();
  }

  /** What waits for an image is tried again when one comes. */
  async #followImages(exchange: Exchange): Promise<void> {
    const { signal } = this.#controller;
    let timer: ReturnType<typeof setTimeout> | undefined;
    while (!signal.aborted) {
      try {
        for await (const _ of exchange.subscribe([`topic=="/images/create"`, `topic=="/images/update"`], signal)) {
          clearTimeout(timer);
          timer = setTimeout(() => this.#files.poke(), IMAGE_MS);
        }
      } catch {
        // Too many at once: then one of them has come for sure.
        this.#files.poke();
      }
    }
    clearTimeout(timer);
  }
}
