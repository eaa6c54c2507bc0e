/** The status over HTTP: a page for people, JSON for programs, and what the token's owner may change. */

import { isAbsolute } from "node:path";
import { ContainerdError, messageOf } from "../../proto/errdefs.ts";
import { Code } from "../../proto/ttrpc/status.ts";
import { clearSocket, restrictSocket, type SocketOwner } from "../host/socket.ts";
import type { Access } from "./access.ts";

/** What is answered. */
export interface StatusSources {
  /** The whole status as JSON. @param plots true: with the last minutes of measurements */
  status(plots: boolean): Promise<string>;
  /** The end of a container's log as JSON. @throws ContainerdError NotFound */
  log(namespace: string, id: string, lines: number): Promise<string>;
  /** Starts, stops or restarts a container. @throws ContainerdError */
  container(namespace: string, id: string, verb: string): Promise<void>;
  /** Rolls an application back. @throws ContainerdError */
  application(name: string, verb: string): Promise<void>;
}

/** Requests that are answered at the same time, and of those the ones that stay. */
const MAX_REQUESTS = 64;
const MAX_LIVE = 16;
/** How often those who look are told, in milliseconds. */
const LIVE_MS = 2000;
/** A connection on which nothing happens is closed, in seconds. */
const IDLE_S = 30;
/** Most lines of a log. */
const MAX_LINES = 1000;

const common = {
  "cache-control": "no-store",
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
  "x-frame-options": "DENY",
  "cross-origin-resource-policy": "same-origin",
  "cross-origin-opener-policy": "same-origin",
} as const;

/** The server of one daemon. */
export class StatusServer {
  readonly #sources: StatusSources;
  readonly #access: Access;
  readonly #ended = new AbortController();
  #server: Bun.Server<undefined> | undefined;
  #requests = 0;
  #live = 0;

  constructor(sources: StatusSources, access: Access) {
    this.#sources = sources;
    this.#access = access;
  }

  /** How many look at the page now. */
  get watchers(): number {
    return this.#live;
  }

  /**
   * @param address path of a unix socket, or address and port of TCP
   * @throws Error when it is taken
   */
  async listen(address: string, owner: SocketOwner): Promise<void> {
    const options = {
      fetch: (request: Request) => this.#guarded(request),
      error: (cause: Error) => text(500, messageOf(cause)),
      // Nothing here takes a body.
      maxRequestBodySize: 1024,
      idleTimeout: IDLE_S,
    };
    try {
      if (isAbsolute(address)) {
        await clearSocket(address);
        const { idleTimeout: _, ...rest } = options;
        this.#server = Bun.serve({ ...rest, unix: address });
        restrictSocket(address, owner);
        return;
      }
      const [, hostname = "", port = ""] = /^\[?(.*?)\]?:(\d+)$/.exec(address) ?? [];
      this.#server = Bun.serve({ ...options, ...(hostname === "" ? {} : { hostname }), port: Number(port) });
    } catch (cause) {
      throw new Error(`cannot serve the status at ${address}: ${messageOf(cause)}`, { cause });
    }
  }

  /** The port of TCP; for tests. */
  get port(): number | undefined {
    return this.#server?.port;
  }

  async stop(): Promise<void> {
    this.#ended.abort();
    await this.#server?.stop(true);
  }

  async #guarded(request: Request): Promise<Response> {
    if (this.#requests >= MAX_REQUESTS) return text(503, "too many requests at the same time", { "retry-after": "1" });
    this.#requests++;
    try {
      const answer = await this.#answer(request);
      for (const [name, value] of Object.entries(common)) answer.headers.set(name, value);
      return answer;
    } catch (error) {
      return failure(error);
    } finally {
      this.#requests--;
    }
  }

  async #answer(request: Request): Promise<Response> {
    const { pathname, searchParams } = new URL(request.url);
    const isRead = request.method === "GET" || request.method === "HEAD";
    if (!isRead && request.method !== "POST") return text(405, "GET and POST only", { allow: "GET, HEAD, POST" });
    const refusal = this.#access.refusal(request, isRead ? "read" : "write");
    if (refusal !== undefined) return refusal;
    const namespace = searchParams.get("namespace") ?? "default";
    const [, noun = "", name = "", verb = ""] = /^\/(containers|apps)\/([^/]{1,256})\/([a-z]+)$/.exec(pathname) ?? [];
    const id = decoded(name);
    if (!isRead) {
      if (noun === "containers") await this.#sources.container(namespace, id, verb);
      else if (noun === "apps") await this.#sources.application(id, verb);
      else return text(404, "POST /containers/ID/{start,stop,restart} or /apps/NAME/rollback");
      return json("{}");
    }
    // Who never looks need not keep it in memory.
    if (pathname === "/") return (await import("./page/page.ts")).page();
    if (pathname === "/status") return json(await this.#sources.status(searchParams.get("plots") === "1"));
    if (pathname === "/status/live") return this.#follow(request);
    if (noun === "containers" && verb === "log") {
      const lines = Math.min(MAX_LINES, Math.max(1, Number(searchParams.get("lines") ?? 100) || 100));
      return json(await this.#sources.log(namespace, id, lines));
    }
    return text(404, "/\n/status\n/status/live\n/containers/ID/log");
  }

  /** Tells the status again and again, as server-sent events, for as long as somebody listens. */
  #follow(request: Request): Response {
    if (this.#live >= MAX_LIVE) return text(503, "too many look already", { "retry-after": "10" });
    this.#live++;
    let isFirst = true;
    const over = AbortSignal.any([request.signal, this.#ended.signal]);
    const leave = (): void => {
      over.removeEventListener("abort", leave);
      if (isLeft) return;
      isLeft = true;
      this.#live--;
    };
    let isLeft = false;
    over.addEventListener("abort", leave);
    const encoder = new TextEncoder();
    const body = new ReadableStream<Uint8Array>(
      {
        pull: async (controller) => {
          try {
            if (!isFirst) await Bun.sleep(LIVE_MS);
            if (over.aborted) throw new Error("over");
            const data = await this.#sources.status(isFirst);
            controller.enqueue(encoder.encode(`${isFirst ? "retry: 3000\n" : ""}data: ${data}\n\n`));
            isFirst = false;
          } catch {
            leave();
            controller.close();
          }
        },
        cancel: leave,
      },
      // Only what is read is made.
      { highWaterMark: 0 },
    );
    return new Response(body, { headers: { "content-type": "text/event-stream; charset=utf-8" } });
  }
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

function json(body: string): Response {
  return new Response(`${body}\n`, { headers: { "content-type": "application/json" } });
}

function text(status: number, why: string, headers: Readonly<Record<string, string>> = {}): Response {
  const all = { ...common, "content-type": "text/plain; charset=utf-8", ...headers };
  return new Response(`${why}\n`, { status, headers: all });
}

const statuses: Readonly<Partial<Record<Code, number>>> = {
  [Code.NotFound]: 404,
  [Code.InvalidArgument]: 400,
  [Code.FailedPrecondition]: 409,
  [Code.AlreadyExists]: 409,
  [Code.Unimplemented]: 501,
  [Code.Unavailable]: 503,
};

function failure(error: unknown): Response {
  const code = error instanceof ContainerdError ? statuses[error.code] : undefined;
  return text(code ?? 500, messageOf(error));
}
