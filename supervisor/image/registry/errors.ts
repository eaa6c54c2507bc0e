/** Errors about registries. No secret may be in them: no credentials, and no queries of URLs, which may be signed. */

import { ContainerdError, messageOf } from "../../../proto/errdefs.ts";
import { Code } from "../../../proto/ttrpc/status.ts";

/** An error that may go away by itself: of the network, or of a server that is overloaded. */
export class TransientError extends ContainerdError {
  /** Milliseconds that the server asked to wait; undefined when it did not. */
  readonly retryAfter: number | undefined;
  /** True when nobody listens there, or nobody is heard of: that seldom changes soon. */
  readonly isRefused: boolean;

  constructor(message: string, options: { retryAfter?: number | undefined; isRefused?: boolean | undefined } = {}) {
    super(Code.Unknown, message);
    this.retryAfter = options.retryAfter;
    this.isRefused = options.isRefused ?? false;
  }
}

/** A URL that may be told: without query and user. */
export function tellable(url: string): string {
  try {
    const { protocol, host, pathname } = new URL(url);
    return `${protocol}//${host}${pathname}`;
  } catch {
    return "an invalid URL";
  }
}

const words: Readonly<Record<string, string>> = {
  ECONNREFUSED: "connect: connection refused",
  ECONNRESET: "connection reset by peer",
  ETIMEDOUT: "i/o timeout",
  ENOTFOUND: "no such host",
  EPIPE: "broken pipe",
  ConnectionRefused: "connect: connection refused",
  ConnectionClosed: "EOF",
};

const UNKNOWN_AUTHORITY = "tls: failed to verify certificate: x509: certificate signed by unknown authority";

/** What is wrong with a server's certificate, or with its TLS; undefined when that is not it. */
function tlsProblem(code: string): string | undefined {
  if (/SELF_SIGNED|UNABLE_TO|UNKNOWN_ISSUER|UNTRUSTED/.test(code)) return UNKNOWN_AUTHORITY;
  if (code === "ERR_TLS_CERT_ALTNAME_INVALID")
    return "tls: failed to verify certificate: x509: certificate is for other names";
  if (code === "CERT_HAS_EXPIRED")
    return "tls: failed to verify certificate: x509: certificate has expired or is not yet valid";
  if (code === "EPROTO") return "tls: handshake failure";
  return /CERT|TLS|SSL|HOSTNAME/.test(code) ? `tls: ${code}` : undefined;
}

/** The error about a request that got no answer. */
export function noAnswer(method: string, url: string, error: unknown): ContainerdError {
  const code = (error as { code?: unknown } | null)?.code;
  const known = typeof code === "string" ? words[code] : undefined;
  const tls = typeof code === "string" ? tlsProblem(code) : undefined;
  const isRefused = known?.startsWith("connect:") || known === "no such host";
  const name = `${method[0]}${method.slice(1).toLowerCase()}`;
  const what = `failed to do request: ${name} "${tellable(url)}":`;
  if (tls !== undefined) return new ContainerdError(Code.Unknown, `${what} ${tls}`);
  // Messages of fetch may hold the whole URL.
  const why = known ?? messageOf(error).replaceAll(url, tellable(url)).slice(0, 300);
  const dial = isRefused ? `dial tcp ${portOf(url)}: ` : "";
  return new TransientError(`${what} ${dial}${why}`, { isRefused });
}

/** Host and port of a URL. */
function portOf(url: string): string {
  const { hostname, port, protocol } = new URL(url);
  return `${hostname}:${port || (protocol === "https:" ? 443 : 80)}`;
}

/** Longest piece of a server's answer that is told. */
const MAX_TOLD = 500;

/** What a registry says in the body of an error, if it is of the usual form. */
function serverMessage(body: string): string {
  try {
    const { errors } = JSON.parse(body) as { errors?: { code?: unknown; message?: unknown }[] };
    if (!Array.isArray(errors)) return "";
    return errors
      .map(
        ({ code, message }) =>
          `${String(code ?? "unknown")
            .toLowerCase()
            .replaceAll("_", " ")}: ${String(message ?? "")}`,
      )
      .join(", ")
      .slice(0, MAX_TOLD);
  } catch {
    return "";
  }
}

/** Statuses after which it may help to ask again. */
export function isTransientStatus(status: number): boolean {
  return status === 408 || status === 429 || (status >= 500 && status !== 501 && status !== 505);
}

/** The error about an answer that nothing can be done with. Reads its body. */
export async function unexpectedStatus(method: string, url: string, response: Response): Promise<ContainerdError> {
  const body = method === "HEAD" ? "" : await readText(response, MAX_BODY, BODY_MS);
  const told = serverMessage(body);
  const text = `unexpected status from ${method} request to ${tellable(url)}: ${response.status} ${response.statusText}${told === "" ? "" : ` - Server message: ${told}`}`;
  if (response.status === 404)
    return new ContainerdError(Code.NotFound, `content at ${tellable(url)} not found: not found`);
  if (isTransientStatus(response.status)) return new TransientError(text, { retryAfter: retryAfterOf(response) });
  return new ContainerdError(Code.Unknown, text);
}

/** Bytes of an error's body that are read. */
const MAX_BODY = 64 << 10;
/** How long an error's body is read, in milliseconds. */
const BODY_MS = 2_000;

/**
 * The beginning of a body as text.
 * @param limit bytes that are read
 * @param ms how long they may take; without it, as long as the request may
 */
export async function readText(response: Response, limit: number, ms?: number): Promise<string> {
  const parts: Uint8Array[] = [];
  let size = 0;
  const reader = response.body?.getReader();
  const stop = (): void => void reader?.cancel().catch(() => undefined);
  const timer = ms === undefined ? undefined : setTimeout(stop, ms);
  try {
    for (let part = await reader?.read(); part?.value !== undefined; part = await reader?.read()) {
      parts.push(part.value);
      size += part.value.length;
      if (size >= limit) break;
    }
  } catch {
    // What came is enough for a message.
  } finally {
    clearTimeout(timer);
    stop();
  }
  return Buffer.concat(parts).subarray(0, limit).toString("utf8");
}

/** What the header Retry-After says, in milliseconds: seconds, or a date. */
export function retryAfterOf(response: Response): number | undefined {
  const value = response.headers.get("retry-after");
  if (value === null) return undefined;
  if (/^\d{1,6}$/.test(value)) return Number(value) * 1000;
  const date = Date.parse(value);
  return Number.isNaN(date) ? undefined : Math.max(0, date - Date.now());
}
