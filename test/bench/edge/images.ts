/** Images for the nodes: a registry on loopback that counts what it sends, and a build machine that fills it. */

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { archive, entry } from "../../lib/archive.ts";
import { imageName, writeImageArchive } from "../../lib/image.ts";
import { writeImageOf } from "../../lib/layered-image.ts";
import { Registry } from "../../lib/registry.ts";
import { BerthNode } from "./berth.ts";
import type { EdgeNode } from "./node.ts";

/** Every so many files one is new in the next version. */
const CHANGED = 100;
const POOL = 4 << 20;

/** An image in two versions. */
export interface Pair {
  readonly reference: string;
  /** Makes one of them what the reference stands for. */
  publish(version: "old" | "new"): Promise<void>;
}

/** Where images come from. */
export class Images {
  readonly #dir: string;
  readonly #registry: Registry;
  readonly #builder: BerthNode;
  #proxy: ReturnType<typeof countingProxy> | undefined;

  constructor(dir: string) {
    mkdirSync(dir, { recursive: true });
    this.#dir = dir;
    this.#registry = new Registry(join(dir, "registry"));
    this.#builder = new BerthNode(join(dir, "w"), "build");
  }

  /** Bytes that the registry has sent. */
  get sent(): number {
    return this.#proxy?.sent() ?? 0;
  }

  /** Starts the registry and the build machine, and puts the small image there. @throws Error */
  async open(): Promise<void> {
    const why = await this.#registry.start();
    if (why !== undefined) throw new Error(`no registry: ${why}`);
    this.#proxy = countingProxy(this.#registry.host);
    await this.#builder.boot();
    await this.#builder.ready();
    const small = join(this.#dir, "small.tar");
    writeImageArchive(small);
    await this.#builder.ask(["load", "-i", small]);
    await this.#push(imageName, this.#at("small"));
  }

  /** Gives a node the small image under its usual name. */
  async give(node: EdgeNode): Promise<void> {
    await node.pull(this.#at("small"));
    await node.ask(["tag", this.#at("small"), imageName]);
  }

  /** An image of one layer, and its next version, in which every hundredth file is another. */
  async pair(bytes: number, files: number): Promise<Pair> {
    const reference = this.#at("app");
    for (const version of ["old", "new"] as const) {
      const path = join(this.#dir, `${version}.tar`);
      writeImageOf(path, `localhost/app:${version}`, [layer(bytes, files, version === "new")]);
      await this.#builder.ask(["load", "-i", path]);
    }
    return {
      reference,
      publish: async (version) => {
        await this.#push(`localhost/app:${version}`, reference);
        if (version === "new") {
          await this.#builder.ask(["delta", "localhost/app:old", "localhost/app:new", "--push", reference]);
        }
      },
    };
  }

  close(): void {
    this.#builder.cutPower();
    this.#proxy?.stop();
    this.#registry.stop();
  }

  /** A reference as nodes know it: through the proxy. */
  #at(name: string): string {
    return `127.0.0.1:${this.#proxy?.port}/${name}:latest`;
  }

  async #push(image: string, reference: string): Promise<void> {
    await this.#builder.ask(["tag", image, reference]);
    await this.#builder.ask(["push", reference]);
  }
}

/** The files of a program's installation: text and code, small and large. */
function layer(bytes: number, files: number, isNew: boolean): Uint8Array {
  let state = 4711;
  const roll = (): number => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
  const pool = Buffer.alloc(POOL);
  for (let at = 0; at < POOL; at++) pool[at] = roll() < 0.4 ? 0x48 : Math.floor(roll() ** 2 * 256);
  const weights = Array.from({ length: files }, () => 10 ** (roll() * 2));
  const unit = bytes / weights.reduce((a, b) => a + b, 0);
  const mtime = 1_700_000_000;
  function* entries() {
    for (let i = 0; i < files; i++) {
      if (i % 40 === 0) yield entry({ name: `app-${i / 40}/`, type: "5", mode: 0o755, mtime });
      const body = Buffer.allocUnsafe(Math.max(1, Math.floor((weights[i] ?? 1) * unit)));
      for (let at = 0; at < body.length; ) {
        const from = Math.floor(roll() * (POOL - 65536));
        at += pool.copy(body, at, from, from + 4096 + Math.floor(roll() * 32768));
      }
      const isChanged = isNew && i % CHANGED === 0;
      if (isChanged) for (let at = 0; at < body.length; at++) body[at] = (body[at] ?? 0) ^ 0x5a;
      yield entry({
        name: `app-${Math.floor(i / 40)}/file-${i}`,
        body,
        mode: 0o644,
        mtime: mtime + (isChanged ? 1 : 0),
      });
    }
  }
  return archive(...entries());
}

/** Passes connections on to a server, and counts what comes back. */
function countingProxy(target: string): { readonly port: number; sent(): number; stop(): void } {
  const [hostname = "", port = ""] = target.split(":");
  let sent = 0;
  type Half = { write(bytes: Uint8Array): number; end(): void };
  interface Link {
    other: Half | undefined;
    /** What the other side has not taken yet. */
    waiting: Uint8Array[];
    ended: boolean;
  }
  const flush = (link: Link): void => {
    while (link.other !== undefined && link.waiting.length > 0) {
      const next = link.waiting[0] as Uint8Array;
      const written = link.other.write(next);
      if (written < next.length) {
        link.waiting[0] = next.subarray(Math.max(0, written));
        return;
      }
      link.waiting.shift();
    }
    if (link.ended && link.other !== undefined) link.other.end();
  };
  const server = Bun.listen<{ to: Link; from: Link }>({
    hostname: "127.0.0.1",
    port: 0,
    socket: {
      open(client) {
        const to: Link = { other: undefined, waiting: [], ended: false };
        const from: Link = { other: client, waiting: [], ended: false };
        client.data = { to, from };
        const connected = Bun.connect({
          hostname,
          port: Number(port),
          socket: {
            open(upstream) {
              to.other = upstream;
              flush(to);
            },
            data(_, bytes) {
              sent += bytes.length;
              from.waiting.push(new Uint8Array(bytes));
              flush(from);
            },
            drain: () => flush(to),
            close: () => {
              from.ended = true;
              flush(from);
            },
            error() {},
          },
        });
        connected.catch(() => client.end());
      },
      data(client, bytes) {
        client.data.to.waiting.push(new Uint8Array(bytes));
        flush(client.data.to);
      },
      drain: (client) => flush(client.data.from),
      close(client) {
        client.data.to.ended = true;
        flush(client.data.to);
      },
      error() {},
    },
  });
  return { port: server.port, sent: () => sent, stop: () => server.stop(true) };
}
