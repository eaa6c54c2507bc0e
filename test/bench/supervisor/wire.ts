/** gRPC by bare HTTP/2, so that a bench measures the daemon and not its client: nothing is decoded that is not asked for. */

import { type ClientHttp2Session, type ClientHttp2Stream, connect } from "node:http2";
import { createConnection } from "node:net";

/** A connection to a daemon. */
export class Wire {
  readonly #session: ClientHttp2Session;

  constructor(address: string) {
    this.#session = connect("http://localhost", {
      createConnection: () => createConnection(address),
      settings: { initialWindowSize: 16 << 20 },
    });
    this.#session.setLocalWindowSize?.(64 << 20);
  }

  /**
   * A call without streams.
   * @param path `/SERVICE/METHOD`
   * @returns how many bytes came back
   * @throws Error when the call failed
   */
  async unary(path: string, message: Uint8Array, namespace: string): Promise<number> {
    const stream = this.#open(path, namespace);
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    let size = 0;
    let failure = "";
    stream.on("response", (headers) => {
      if ((headers["grpc-status"] ?? "0") !== "0") failure = String(headers["grpc-message"]);
    });
    stream.on("data", (chunk: Uint8Array) => {
      size += chunk.length;
    });
    stream.on("trailers", (headers) => {
      if (headers["grpc-status"] !== "0") failure = String(headers["grpc-message"]);
    });
    stream.on("error", reject);
    stream.on("end", () => (failure === "" ? resolve(size) : reject(new Error(`${path}: ${failure}`))));
    stream.end(frame(message));
    return promise;
  }

  /** A call that streams its responses: every chunk of bytes as it comes. @returns ends it */
  listen(path: string, message: Uint8Array, onData: (bytes: Uint8Array) => void): () => void {
    const stream = this.#open(path);
    stream.on("data", onData);
    stream.on("error", () => undefined);
    stream.end(frame(message));
    return () => stream.close();
  }

  #open(path: string, namespace?: string): ClientHttp2Stream {
    return this.#session.request({
      ":method": "POST",
      ":path": path,
      "content-type": "application/grpc",
      te: "trailers",
      ...(namespace === undefined ? {} : { "containerd-namespace": namespace }),
    });
  }

  /** Ends the connection. */
  close(): void {
    this.#session.destroy();
  }
}

/** A message with gRPC's header in front. */
function frame(message: Uint8Array): Uint8Array {
  const framed = Buffer.alloc(5 + message.length);
  framed.writeUInt32BE(message.length, 1);
  framed.set(message, 5);
  return framed;
}
