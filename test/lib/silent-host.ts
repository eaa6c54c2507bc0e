/** A host that takes no connection and does not refuse one either, as behind a network that is dead. */

import { connect, type Socket } from "node:net";

const program = `
const server = require("node:net").createServer().listen({ port: 0, host: "127.0.0.1" });
server.on("listening", () => console.log(server.address().port));
`;
/** More than any queue here holds. */
const MOST = 5_000;
/** Milliseconds after which a connection of loopback is taken for one that never comes about. */
const SILENCE = 300;

/** A listener that is stopped, and whose queue is full. */
export class SilentHost {
  readonly url: string;
  readonly #child: Bun.Subprocess;
  readonly #sockets: Socket[] = [];

  private constructor(port: number, child: Bun.Subprocess) {
    this.url = `http://127.0.0.1:${port}`;
    this.#child = child;
  }

  static async open(): Promise<SilentHost> {
    const child = Bun.spawn([process.execPath, "-e", program], { stdout: "pipe", stderr: "inherit" });
    const { value } = await child.stdout.getReader().read();
    const port = Number(new TextDecoder().decode(value));
    child.kill("SIGSTOP");
    const host = new SilentHost(port, child);
    while (await host.#connects(port)) if (host.#sockets.length > MOST) throw new Error("the queue is never full");
    return host;
  }

  #connects(port: number): Promise<boolean> {
    return new Promise((resolve) => {
      const socket = connect({ port, host: "127.0.0.1" }).on("error", () => {});
      this.#sockets.push(socket);
      const timer = setTimeout(() => resolve(false), SILENCE);
      socket.once("connect", () => {
        clearTimeout(timer);
        resolve(true);
      });
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#child.kill("SIGKILL");
    await this.#child.exited;
  }
}
