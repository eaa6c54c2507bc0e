/** Connecting to a ttrpc server without a socket of Bun's own; see connection.ts. */

import { messageOf } from "../../proto/errdefs.ts";
import { Client } from "../../proto/ttrpc/client.ts";
import { Code, TtrpcError } from "../../proto/ttrpc/status.ts";
import { Connection, ignore, takeOver } from "./connection.ts";

/**
 * Connects to a server.
 * @throws TtrpcError Unavailable when nobody answers in time
 */
export async function connect(path: string, timeoutMs: number): Promise<Client> {
  const { promise, resolve, reject } = Promise.withResolvers<Client>();
  const fail = (why: string) => reject(new TtrpcError(Code.Unavailable, `cannot connect to ${path}: ${why}`));
  const timer = setTimeout(() => fail(`no answer in ${timeoutMs} ms`), timeoutMs);
  let late = false;
  void promise.catch(() => {
    late = true;
  });
  Bun.connect<undefined>({
    unix: path,
    data: undefined,
    socket: {
      ...ignore,
      open(socket) {
        if (late) {
          socket.terminate();
          return;
        }
        const connection = new Connection(takeOver(socket));
        const client = new Client(connection, path);
        connection.attach(client.channel);
        resolve(client);
      },
    },
  }).catch((error: unknown) => fail(messageOf(error)));
  try {
    return await promise;
  } finally {
    clearTimeout(timer);
  }
}
