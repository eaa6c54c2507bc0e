/** Unix sockets by Bun: the one place that knows how a channel's socket is made. */

import type { Channel, Transport } from "./channel.ts";
import { messageOf } from "./message.ts";
import { Code, statusOf, TtrpcError } from "./status.ts";

/** Where to listen or connect: a path, or an abstract name with a leading "@" or NUL. */
export interface Address {
  readonly unix: string;
}

/** Longest socket path in bytes that the kernel takes (sun_path less its terminating NUL). */
const MAX_PATH = 107;

type BunSocket = Bun.Socket<Channel | undefined>;

/** A bound socket. */
export interface Listener {
  readonly address: Address;
  /** Stops accepting, and removes the socket's path. Connections stay. */
  stop(): void;
  /** Lets the process live for the sake of this socket (the default), or not. */
  keepAlive(yes: boolean): void;
}

function nameOf(address: Address): string {
  const name = address.unix.startsWith("@") ? `\0${address.unix.slice(1)}` : address.unix;
  const bytes = new TextEncoder().encode(name).length;
  if (bytes === 0 || bytes > MAX_PATH) {
    const why = bytes === 0 ? "is empty" : `is ${bytes} bytes long, the limit is ${MAX_PATH}`;
    throw new TtrpcError(Code.InvalidArgument, `socket path ${why}: ${address.unix}`, { errno: "ENAMETOOLONG" });
  }
  return name;
}

function errnoOf(error: unknown): string | undefined {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : undefined;
}

/** One set of callbacks serves every socket of a listener or client; what differs is the socket's channel. */
function handlersFor(open: (socket: BunSocket) => void): Bun.SocketHandler<Channel | undefined> {
  return {
    open,
    data(socket, chunk) {
      socket.data?.received(chunk);
    },
    drain(socket) {
      socket.data?.writable();
    },
    close(socket, error) {
      socket.data?.socketClosed(error instanceof Error ? error : undefined);
    },
    error(socket, error) {
      socket.data?.destroy(error);
    },
  };
}

/**
 * Binds a socket and accepts connections at once; each is given to `accept`, which makes its channel, or none to refuse.
 * @throws {TtrpcError} AlreadyExists with errno EADDRINUSE when the path exists, whether anyone listens there or not;
 * InvalidArgument when the path is too long; else by errno
 */
export function listen(address: Address, accept: (transport: Transport) => Channel | undefined): Listener {
  const name = nameOf(address);
  let listener: Bun.UnixSocketListener<Channel | undefined>;
  try {
    listener = Bun.listen<Channel | undefined>({
      unix: name,
      data: undefined,
      socket: handlersFor((socket) => {
        socket.data = accept(socket);
        if (socket.data === undefined) socket.terminate();
      }),
    });
  } catch (error) {
    const errno = errnoOf(error);
    const code = errno === "EADDRINUSE" ? Code.AlreadyExists : statusOf(error).code;
    throw new TtrpcError(code, `cannot listen on ${address.unix}: ${errno ?? messageOf(error)}`, {
      ...(errno === undefined ? {} : { errno }),
      cause: error,
    });
  }
  return {
    address,
    stop: () => listener.stop(),
    keepAlive: (yes) => (yes ? listener.ref() : listener.unref()),
  };
}

/**
 * Connects to a socket.
 * @param timeoutMs milliseconds to wait; no limit when undefined
 * @throws {TtrpcError} Unavailable, with the errno, when nobody listens there; DeadlineExceeded past the limit;
 * InvalidArgument when the path is too long
 */
export async function connect(
  address: Address,
  timeoutMs: number | undefined,
  open: (transport: Transport) => Channel,
): Promise<Channel> {
  const name = nameOf(address);
  let late = false;
  let channel: Channel | undefined;
  // The channel is there before the socket's first event can be.
  const handlers = handlersFor((socket) => {
    if (late) {
      socket.terminate();
      return;
    }
    channel = open(socket);
    socket.data = channel;
  });
  const connected = Bun.connect<Channel | undefined>({ unix: name, data: undefined, socket: handlers }).then(
    () => {
      if (channel === undefined) throw new TtrpcError(Code.DeadlineExceeded, "connected too late");
      return channel;
    },
    (error: unknown) => {
      const errno = errnoOf(error);
      throw new TtrpcError(Code.Unavailable, `cannot connect to ${address.unix}: ${errno ?? messageOf(error)}`, {
        ...(errno === undefined ? {} : { errno }),
        cause: error,
      });
    },
  );
  if (timeoutMs === undefined) return connected;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const timeout = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      late = true;
      const text = `cannot connect to ${address.unix}: no answer in ${timeoutMs} ms`;
      reject(new TtrpcError(Code.DeadlineExceeded, text));
    }, timeoutMs);
  });
  try {
    return await Promise.race([connected, timeout]);
  } finally {
    clearTimeout(timer);
    connected.catch(() => undefined);
  }
}
