/** What the daemon serves beside containerd's API: metrics where they are wanted, and looking inside for root alone. */

import { type Config, debugAddress } from "../config.ts";
import type { Log } from "../log/log.ts";
import { type HttpServer, serveHttp } from "./http.ts";
import { toJson } from "./json.ts";
import { MAX_SOCKET_PATH } from "./socket.ts";

/** What is told. */
export interface AsideSources {
  /** What the daemon is doing. */
  state(): Promise<unknown>;
  /** The text of Prometheus. */
  metrics(): Promise<string>;
  /** What `berth check` compares with the disk. */
  records(): Promise<unknown>;
}

/** The running servers. */
export class Aside {
  readonly #servers: readonly HttpServer[];

  private constructor(servers: readonly HttpServer[]) {
    this.#servers = servers;
  }

  /**
   * Without an address of the configuration, a state too deep for the path of a socket costs only the debug socket.
   * @throws Error when an address is taken or wrong
   */
  static async start(config: Config, sources: AsideSources, log: Log): Promise<Aside> {
    const metrics = {
      "/v1/metrics": async () => respond(await sources.metrics(), "text/plain; version=0.0.4; charset=utf-8"),
    };
    const debug = {
      ...metrics,
      "/debug/state": async () => respond(`${toJson(await sources.state(), 2)}\n`, "application/json"),
      "/debug/records": async () => respond(toJson(await sources.records()), "application/json"),
      "/debug/heap": () => respond(Bun.generateHeapSnapshot("v8"), "application/json"),
    };
    const servers: HttpServer[] = [];
    try {
      if (config.metrics.address !== "") {
        servers.push(await serveHttp(config.metrics.address, metrics, { uid: 0, gid: 0, mode: 0o660 }));
      }
      const address = debugAddress(config);
      const isPossible = config.debug.address !== "" || Buffer.byteLength(address) <= MAX_SOCKET_PATH;
      if (isPossible) servers.push(await serveHttp(address, debug, { ...config.debug, mode: 0o600 }));
      else log.warn("no debug socket: its path would be too long; set [debug] address", { address });
    } catch (error) {
      for (const server of servers) await server.stop();
      throw error;
    }
    return new Aside(servers);
  }

  async stop(): Promise<void> {
    await Promise.all(this.#servers.map((server) => server.stop()));
  }
}

function respond(text: string, type: string): Response {
  return new Response(text, { headers: { "content-type": type } });
}
