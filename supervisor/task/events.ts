/**
 * The socket that shims send their events to (contract EV-1): `containerd.services.events.ttrpc.v1.Events/Forward` over
 * ttrpc. Processes of other users are turned away.
 */

import { toStatus } from "../../proto/errdefs.ts";
import { containerd, google } from "../../proto/gen/supervisor.js";
import { Server } from "../../proto/ttrpc/server.ts";
import { unary } from "../../proto/ttrpc/service.ts";
import { listen } from "../../shim/linux/index.ts";

const { ForwardRequest } = containerd.services.events.ttrpc.v1;

type Envelope = containerd.types.Envelope.$Properties;

/** A socket for events. */
export class EventSocket {
  readonly #server: Server;
  readonly #stopListening: () => void;

  /**
   * Listens at a path that does not exist; when this returns, shims can connect.
   * @param forward takes an event; what it throws, the shim is answered with
   * @throws Error when it cannot listen
   */
  constructor(path: string, forward: (envelope: Envelope) => void) {
    const server = new Server({ mapError: toStatus });
    server.register("containerd.services.events.ttrpc.v1.Events", {
      Forward: unary(ForwardRequest, google.protobuf.Empty, ({ envelope }) => {
        forward(envelope ?? {});
        return {};
      }),
    });
    this.#server = server;
    // Between bind and chmod nobody else may come in either.
    const mask = process.umask(0o117);
    try {
      this.#stopListening = listen(path, (connection) => connection.serveBy(server));
    } finally {
      process.umask(mask);
    }
  }

  /** Ends: events under way are taken, later ones wait in the shims. */
  async stop(): Promise<void> {
    this.#stopListening();
    await this.#server.shutdown({ graceMs: 500 });
  }
}
