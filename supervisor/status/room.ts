/** The status of the node, for people and programs: on a unix socket unless an address is configured. */

import { join } from "node:path";
import manifest from "../../package.json" with { type: "json" };
import { LocalApi } from "../client/local.ts";
import type { DiskRoom } from "../disk/room.ts";
import type { GrpcServer } from "../grpc/server.ts";
import { MAX_SOCKET_PATH } from "../host/socket.ts";
import { meteredTasks } from "../metrics/tasks.ts";
import { type Family, single } from "../metrics/text.ts";
import type { UpkeepRoom } from "../restart/room.ts";
import type { Rooms } from "../services.ts";
import type { Database } from "../store/database.ts";
import { Access } from "./access.ts";
import { actOnApplication, actOnContainer, applicationStatuses, containerLog } from "./actions.ts";
import { countBoots } from "./boots.ts";
import { Document } from "./document.ts";
import { RecentEvents } from "./events.ts";
import { nodeFamilies } from "./families.ts";
import { Sampler } from "./sampler.ts";
import { StatusServer } from "./server.ts";

/** What the room needs of others. */
export interface StatusParts extends Rooms {
  readonly server: GrpcServer;
  readonly database: Database;
  readonly disk: DiskRoom;
}

/** The status of one daemon. */
export class StatusRoom {
  readonly #parts: StatusParts;
  readonly #server: StatusServer;
  readonly #events: RecentEvents;
  readonly #boots: number | undefined;

  /** @throws ConfigError when the configuration would let anybody in */
  constructor(parts: StatusParts, upkeep: Pick<UpkeepRoom, "monitor" | "health">) {
    this.#parts = parts;
    const { config, containers, namespaces, tasks, database, disk, exchange, server } = parts;
    const access = new Access(config.status);
    this.#boots = countBoots(config.root);
    this.#events = new RecentEvents(exchange);
    const { monitor, health } = upkeep;
    const api = new LocalApi(server);
    const document = new Document({
      ...{ version: manifest.version, boots: this.#boots, hasToken: access.hasToken },
      ...{ database, disk, containers, namespaces, monitor, health, tasks: tasks.tasks },
      sampler: new Sampler(async () => meteredTasks(await tasks.tasks.list(), containers)),
      events: this.#events,
      applications: () => applicationStatuses(api, config.apps.namespace),
    });
    const sources = {
      status: (plots: boolean) => document.text(plots),
      log: (namespace: string, id: string, lines: number) => containerLog(containers, namespace, id, lines),
      container: (namespace: string, id: string, verb: string) => actOnContainer(api, namespace, id, verb),
      application: (name: string, verb: string) => actOnApplication(api, config.apps.namespace, name, verb),
    };
    this.#server = new StatusServer(sources, access);
  }

  /**
   * Serves. Without an address of the configuration, a state too deep for the path of a socket costs only the status.
   * @throws Error when the address is taken
   */
  async listen(): Promise<void> {
    const { config, log } = this.#parts;
    const { enabled, address } = config.status;
    if (!enabled) return;
    const path = address || join(config.state, "status.sock");
    if (address === "" && Buffer.byteLength(path) > MAX_SOCKET_PATH) {
      log.warn("no status: the path of its socket would be too long; set [status] address", { path });
      return;
    }
    await this.#server.listen(path, { uid: config.grpc.uid, gid: config.grpc.gid });
  }

  families(): Family[] {
    return [
      single("berth_status_watchers", "gauge", "Pages of the status that are open.", this.#server.watchers),
      ...nodeFamilies(this.#parts.database, this.#boots),
    ];
  }

  async stop(): Promise<void> {
    this.#events.stop();
    await this.#server.stop();
  }
}
