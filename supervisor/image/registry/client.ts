/** Requests to one host of a registry: authorized, retried, redirected, with deadlines. */

import { setTimeout as sleep } from "node:timers/promises";
import { ContainerdError } from "../../../proto/errdefs.ts";
import { Code } from "../../../proto/ttrpc/status.ts";
import { apiVersion } from "../../introspection/version.ts";
import { type AskCredentials, Authorizer } from "./authorizer.ts";
import { dial } from "./dial.ts";
import { isTransientStatus, noAnswer, retryAfterOf, TransientError, tellable } from "./errors.ts";
import type { Host, Tls } from "./hosts.ts";

/** Bodies of requests can be had again, for another attempt. */
export type Body = () => Uint8Array | AsyncIterable<Uint8Array>;

/** A request. */
export interface Request {
  readonly method: "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE";
  /** Path and query at the host, or the whole URL of where the host has sent us. */
  readonly target: string;
  readonly scopes: readonly string[];
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Body;
  /** Bytes of the body. */
  readonly size?: number;
  /** False: a failure is another host's chance, or somebody else's to retry. */
  readonly isRetried: boolean;
  /** False: an answer over HTTPS may not send us to HTTP, because nothing else tells that the answer is right. */
  readonly mayDowngrade: boolean;
}

/** Milliseconds until a host has taken a connection, unless its file says otherwise. Two attempts are 30 s, as containerd's one. */
const DIAL_TIMEOUT = 15_000;
/** Milliseconds until the beginning of an answer must be there. */
const ANSWER_TIMEOUT = 60_000;
const MAX_REDIRECTS = 10;
const MAX_ATTEMPTS = 5;
/** Waits between attempts, in milliseconds: doubled from the first to the last. What a server asks for is kept to `most`. */
const WAIT = { first: 200, last: 5000, most: 60_000 };
/** Milliseconds without a byte after which a body counts as broken. */
const IDLE_TIMEOUT = 60_000;

/** One host. */
export class HostClient {
  readonly host: Host;
  readonly #authorizer: Authorizer;
  readonly #headers: Readonly<Record<string, string>>;
  #scheme: string;
  /** True until it is known whether the host speaks HTTPS. */
  #isUnsure: boolean;
  /** True when it has taken a connection. */
  #isReached = false;

  /** @param headers sent with every request, to this host alone */
  constructor(host: Host, headers: Readonly<Record<string, string>>, ask: AskCredentials | undefined) {
    this.host = host;
    this.#scheme = host.scheme;
    this.#isUnsure = host.fallsBack;
    this.#authorizer = new Authorizer(host.scheme, host.host, ask, host.tls);
    this.#headers = headers;
  }

  /** The URL of a path at this host. */
  url(target: string): string {
    return target.includes("://") ? target : `${this.#scheme}://${this.host.host}${target}`;
  }

  /**
   * Sends a request, again where that may help. The answer may have any status; 401 when the host does not believe what it was shown.
   * @throws ContainerdError when there is no answer, or the host does not believe who asks
   */
  async send(request: Request, signal: AbortSignal): Promise<Response> {
    let wait = WAIT.first;
    for (let attempt = 1; ; attempt++) {
      const isLast = !request.isRetried || attempt === MAX_ATTEMPTS;
      let asked: number | undefined;
      try {
        const response = await this.#authorized(request, signal);
        if (isLast || !isTransientStatus(response.status)) return response;
        asked = retryAfterOf(response);
        await response.body?.cancel();
      } catch (error) {
        if (isLast || !(error instanceof TransientError) || (error.isRefused && attempt > 1)) throw error;
        asked = error.retryAfter;
      }
      if (asked !== undefined && asked > WAIT.most) {
        throw new ContainerdError(
          Code.Unknown,
          `${this.host.host} asks to come back in ${Math.ceil(asked / 1000)} s: too many requests`,
        );
      }
      // Not all clients of a server that was down come back at the same moment.
      await sleep(asked ?? wait * (0.75 + Math.random() / 2), undefined, { signal });
      wait = Math.min(WAIT.last, wait * 2);
    }
  }

  async #authorized(request: Request, signal: AbortSignal): Promise<Response> {
    for (let refusals = 0; ; refusals++) {
      const authorization = await this.#authorizer.header(request.scopes, signal);
      const { response, isOwn } = await this.#redirected(request, authorization, signal);
      // Somebody else than the host, to whom it has sent us, may not ask for what it is to be shown.
      if (response.status !== 401 || !isOwn) return response;
      if (!(await this.#authorizer.refused(response, request.scopes, authorization, refusals > 0))) return response;
      await response.body?.cancel();
    }
  }

  /** Sends a request to where it leads. @returns the answer, and whether the host itself gave it */
  async #redirected(
    request: Request,
    authorization: string | undefined,
    signal: AbortSignal,
  ): Promise<{ response: Response; isOwn: boolean }> {
    let url = this.url(request.target);
    for (let redirects = 0; ; redirects++) {
      const isOwn = this.#isOwn(url);
      const response = await this.#once(request, url, authorization, signal);
      const location = response.headers.get("location");
      if (![301, 302, 303, 307, 308].includes(response.status) || location === null) return { response, isOwn };
      await response.body?.cancel();
      if (redirects === MAX_REDIRECTS)
        throw new ContainerdError(Code.Unknown, `stopped after ${MAX_REDIRECTS} redirects`);
      url = this.#next(url, location, request.mayDowngrade);
    }
  }

  #next(url: string, location: string, mayDowngrade: boolean): string {
    let next: URL;
    try {
      next = new URL(location, url);
    } catch {
      throw new ContainerdError(Code.Unknown, `${tellable(url)} redirects to an invalid URL`);
    }
    const isPlain = next.protocol === "http:";
    if (!isPlain && next.protocol !== "https:") {
      throw new ContainerdError(Code.Unknown, `${tellable(url)} redirects to ${next.protocol}, which is not followed`);
    }
    if (isPlain && url.startsWith("https:") && !mayDowngrade) {
      throw new ContainerdError(
        Code.Unknown,
        `${tellable(url)} redirects to ${tellable(next.href)}, which is not safe`,
      );
    }
    return next.href;
  }

  /** True for URLs that are this host's own: secrets go nowhere else. */
  #isOwn(url: string): boolean {
    const { protocol, host } = new URL(url);
    const own = new URL(`${this.#scheme}://${this.host.host}`);
    return protocol === own.protocol && host === own.host;
  }

  async #once(
    request: Request,
    url: string,
    authorization: string | undefined,
    signal: AbortSignal,
  ): Promise<Response> {
    const isOwn = this.#isOwn(url);
    if (isOwn && !this.#isReached) await dial(url, this.host.dialTimeout ?? DIAL_TIMEOUT, signal);
    if (isOwn) this.#isReached = true;
    const headers = new Headers({ "user-agent": `containerd/${apiVersion}`, "accept-encoding": "identity" });
    if (isOwn) {
      for (const [name, value] of Object.entries(this.#headers)) headers.set(name, value);
      for (const [name, value] of this.host.headers) headers.append(name, value);
      if (authorization !== undefined) headers.set("authorization", authorization);
    }
    for (const [name, value] of Object.entries(request.headers ?? {})) headers.set(name, value);
    if (request.size !== undefined) headers.set("content-length", String(request.size));
    try {
      const response = await this.#fetch(url, request, headers, isOwn, signal);
      if (isOwn) this.#isUnsure = false;
      return response;
    } catch (error) {
      if (signal.aborted || error instanceof ContainerdError) throw error;
      // Of several requests at the beginning, the first that fails finds it out for all.
      const isPlain = this.#isUnsure || (this.host.fallsBack && this.#scheme === "http");
      if (isOwn && isPlain && url.startsWith("https:") && (error as { code?: unknown }).code === "EPROTO") {
        this.#isUnsure = false;
        this.#scheme = "http";
        return this.#once(request, `http:${url.slice("https:".length)}`, authorization, signal);
      }
      throw noAnswer(request.method, url, error);
    }
  }

  async #fetch(
    url: string,
    request: Request,
    headers: Headers,
    isOwn: boolean,
    signal: AbortSignal,
  ): Promise<Response> {
    const controller = new AbortController();
    const abort = (): void => controller.abort(signal.reason);
    signal.addEventListener("abort", abort, { once: true });
    if (signal.aborted) abort();
    const timer = setTimeout(
      () =>
        controller.abort(new TransientError(`${tellable(url)}: no answer within ${ANSWER_TIMEOUT} ms: i/o timeout`)),
      ANSWER_TIMEOUT,
    );
    // A large body takes as long as it takes; its own reader stops when the server does not take it any more.
    const body = request.body?.();
    if (body !== undefined && (request.size ?? 0) > 0) clearTimeout(timer);
    try {
      const response = await fetch(url, {
        method: request.method,
        headers,
        ...(body === undefined ? {} : { body: body as Bun.BodyInit }),
        redirect: "manual",
        decompress: false,
        signal: controller.signal,
        ...(this.host.tls ? { tls: isOwn ? this.host.tls : trustOf(this.host.tls) } : {}),
      });
      return withIdleTimeout(response, controller, url, () => signal.removeEventListener("abort", abort));
    } catch (error) {
      signal.removeEventListener("abort", abort);
      throw controller.signal.reason instanceof TransientError ? controller.signal.reason : error;
    } finally {
      clearTimeout(timer);
    }
  }
}

/** What counts where a host redirects to: its storage has certificates of the same authority. */
function trustOf({ ca, rejectUnauthorized }: Tls): Tls {
  return { ...(ca === undefined ? {} : { ca }), ...(rejectUnauthorized === undefined ? {} : { rejectUnauthorized }) };
}

/** What a broken body is aborted by. */
const controllers = new WeakMap<Response, { controller: AbortController; url: string; over: () => void }>();

function withIdleTimeout(response: Response, controller: AbortController, url: string, over: () => void): Response {
  controllers.set(response, { controller, url, over });
  return response;
}

/**
 * The bytes of an answer, as they come.
 * @throws TransientError when they stop coming
 */
export async function* bodyOf(response: Response): AsyncGenerator<Uint8Array> {
  const { controller, url = "", over } = controllers.get(response) ?? {};
  const stalled = new TransientError(`${tellable(url)}: no data for ${IDLE_TIMEOUT} ms: i/o timeout`);
  let timer: Timer | undefined;
  const watch = (): void => {
    clearTimeout(timer);
    timer = setTimeout(() => controller?.abort(stalled), IDLE_TIMEOUT);
  };
  try {
    watch();
    for await (const chunk of response.body ?? []) {
      clearTimeout(timer);
      yield chunk;
      watch();
    }
  } catch (error) {
    if (controller?.signal.aborted) throw controller.signal.reason;
    throw error instanceof ContainerdError ? error : noAnswer("GET", url, error);
  } finally {
    clearTimeout(timer);
    over?.();
  }
}
