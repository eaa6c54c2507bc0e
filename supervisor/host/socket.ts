/** The places in the file system that the daemon listens at. */

import { chmodSync, chownSync, lstatSync, mkdirSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { dirname } from "node:path";

/** Longest path of a unix socket in bytes, without its NUL. */
export const MAX_SOCKET_PATH = 107;
/** How long a socket that does not answer is waited for. */
const CONNECT_MS = 2000;

/** Who may use a socket. */
export interface SocketOwner {
  readonly uid: number;
  readonly gid: number;
  /** 0660 when not given. */
  readonly mode?: number;
}

/**
 * Sees to it that a socket can be made at a path: its directory is there, and the socket of a daemon that has ended is
 * gone.
 * @throws Error when somebody listens there, or the path is not a socket, or too long
 */
export async function clearSocket(path: string): Promise<void> {
  if (Buffer.byteLength(path) > MAX_SOCKET_PATH) {
    throw new Error(`the path of the socket ${path} is longer than ${MAX_SOCKET_PATH} bytes: choose a shorter one`);
  }
  mkdirSync(dirname(path), { recursive: true, mode: 0o711 });
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (!found.isSocket()) throw new Error(`${path} is there and is not a socket: remove it, or choose another address`);
  if (await isListening(path)) {
    throw new Error(`somebody listens at ${path} already: stop that daemon first, or choose another address`);
  }
  rmSync(path, { force: true });
}

/** Gives a socket that was just made to its owner. */
export function restrictSocket(path: string, { uid, gid, mode = 0o660 }: SocketOwner): void {
  chmodSync(path, mode);
  chownSync(path, uid, gid);
}

/** True when a connection to the socket is taken, or hangs, which only a living listener's does. */
function isListening(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    const timer = setTimeout(() => end(true), CONNECT_MS);
    const end = (answer: boolean): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(answer);
    };
    socket.once("connect", () => end(true));
    socket.once("error", (error: NodeJS.ErrnoException) => end(error.code === "EAGAIN"));
  });
}
