/** One end of a relay: a unix socket that keeps what it could not write yet. */

import type { Socket } from "bun";

/** Told of what comes, and of the end. */
export interface LinkEnds {
  data(bytes: Uint8Array): void;
  close(): void;
}

export class Link {
  readonly #socket: Socket<unknown>;
  #unsent: Uint8Array[] = [];
  #ending = false;
  isOpen = true;

  constructor(socket: Socket<unknown>) {
    this.#socket = socket;
  }

  write(bytes: Uint8Array): void {
    if (!this.isOpen) return;
    this.#unsent.push(bytes);
    this.flush();
  }

  /** Writes what the socket takes; to be called when it drains. */
  flush(): void {
    while (this.isOpen) {
      const first = this.#unsent[0];
      if (first === undefined) break;
      const written = this.#socket.write(first);
      if (written < first.length) {
        if (written > 0) this.#unsent[0] = first.subarray(written);
        return;
      }
      this.#unsent.shift();
    }
    if (this.#ending) this.#socket.end();
  }

  /** Ends the connection once all is written. */
  close(): void {
    this.#ending = true;
    this.flush();
  }

  /** To be called when the socket has closed. */
  ended(): void {
    this.isOpen = false;
    this.#unsent = [];
  }
}

/** Connects. @throws Error when nobody accepts */
export async function dialUpstream(path: string, ends: LinkEnds): Promise<Link> {
  let link: Link | undefined;
  const end = (): void => {
    if (link?.isOpen === false) return;
    link?.ended();
    ends.close();
  };
  const socket = await Bun.connect({
    unix: path,
    socket: {
      data: (_, bytes) => ends.data(new Uint8Array(bytes)),
      drain: () => link?.flush(),
      close: end,
      error: end,
    },
  });
  link = new Link(socket);
  return link;
}

/** Accepts connections. `accepted` is given each, and answers what becomes of it. */
export function acceptLinks(path: string, accepted: (link: Link) => LinkEnds): void {
  interface Peer {
    readonly link: Link;
    readonly ends: LinkEnds;
  }
  const end = (peer: Peer): void => {
    if (!peer.link.isOpen) return;
    peer.link.ended();
    peer.ends.close();
  };
  Bun.listen<Peer>({
    unix: path,
    socket: {
      open: (socket) => {
        const link = new Link(socket);
        socket.data = { link, ends: accepted(link) };
      },
      data: ({ data }, bytes) => data.ends.data(new Uint8Array(bytes)),
      drain: ({ data }) => data.link.flush(),
      close: ({ data }) => end(data),
      error: ({ data }) => end(data),
    },
  });
}

/** How many links are open, and when none is. */
export class OpenLinks {
  #count = 0;
  #waiters: (() => void)[] = [];

  opened(): void {
    this.#count++;
  }

  closed(): void {
    if (--this.#count > 0) return;
    for (const resolve of this.#waiters.splice(0)) resolve();
  }

  async none(): Promise<void> {
    if (this.#count === 0) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#waiters.push(resolve);
    await promise;
  }
}
