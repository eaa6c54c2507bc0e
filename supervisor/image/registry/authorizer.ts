/**
 * Shows registries who asks: by basic authorization, or by a token that another server gives for credentials, or for none
 * (distribution/spec, auth). Credentials go to the host that they are for and to the server of tokens that it names.
 */

import { ContainerdError } from "../../../proto/errdefs.ts";
import { Code } from "../../../proto/ttrpc/status.ts";
import type { Credentials } from "../auth-stream.ts";
import { parseChallenges } from "./challenge.ts";
import { noAnswer, readText, TransientError, tellable, unexpectedStatus } from "./errors.ts";
import { isLoopback, type Tls } from "./hosts.ts";

/** Asks for the credentials for a host. */
export type AskCredentials = (host: string, challenges: readonly string[]) => Promise<Credentials | undefined>;

/** Milliseconds for one question to a server of tokens. */
const TIMEOUT = 30_000;
/** Longest answer of a server of tokens. */
const MAX_ANSWER = 1 << 20;
/** Seconds that a token is good for when its server does not say. */
const DEFAULT_SECONDS = 60;

interface Token {
  readonly value: string;
  /** When it must not be used any more, in milliseconds of {@link performance.now}. */
  readonly until: number;
}

/** Where tokens come from. */
interface Issuer {
  readonly realm: string;
  readonly service: string;
}

/** The error about somebody who may not. */
export function denied(why: string): ContainerdError {
  return new ContainerdError(Code.Unknown, `authorization failed: ${why}`);
}

/** Authorization for one host. */
export class Authorizer {
  readonly #host: string;
  readonly #scheme: string;
  readonly #ask: AskCredentials | undefined;
  readonly #tls: Tls | undefined;
  #credentials: Promise<Credentials | undefined> | undefined;
  #issuer: Issuer | undefined;
  /** The whole header, for hosts that take the same one always. */
  #fixed: string | undefined;
  readonly #tokens = new Map<string, Promise<Token>>();

  /** @param host with port */
  constructor(scheme: string, host: string, ask: AskCredentials | undefined, tls: Tls | undefined) {
    this.#scheme = scheme;
    this.#host = host;
    this.#ask = ask;
    this.#tls = tls;
  }

  /** The Authorization header for a request, as far as the host has asked for one. */
  async header(scopes: readonly string[], signal: AbortSignal): Promise<string | undefined> {
    if (this.#fixed !== undefined) return this.#fixed;
    if (this.#issuer === undefined) return undefined;
    const key = scopes.join(" ");
    const cached = await this.#tokens.get(key);
    if (cached && performance.now() < cached.until) return `Bearer ${cached.value}`;
    return `Bearer ${(await this.#renew(key, scopes, signal)).value}`;
  }

  /**
   * Takes notice that the host refused a request.
   * @param used the header that the request had
   * @returns false when there is nothing else to show it
   * @throws ContainerdError when it says why, or there is nothing to show it
   */
  async refused(
    response: Response,
    scopes: readonly string[],
    used: string | undefined,
    isRepeated: boolean,
  ): Promise<boolean> {
    const header = response.headers.get("www-authenticate") ?? "";
    const challenges = parseChallenges(header);
    const bearer = challenges.find(({ scheme, parameters }) => scheme === "bearer" && parameters.has("realm"));
    if (isRepeated) {
      const why = bearer?.parameters.get("error") ?? "";
      if (why === "") return false;
      throw denied(`server message: ${why.slice(0, 64)}`);
    }
    if (bearer !== undefined) {
      const credentials = await this.#ownCredentials(header);
      if (credentials?.header) {
        this.#fixed = credentials.header;
        return true;
      }
      this.#issuer = this.#issuerOf(bearer.parameters.get("realm") ?? "", bearer.parameters.get("service") ?? "");
      if (used !== undefined) this.#tokens.delete(scopes.join(" "));
      return true;
    }
    if (!challenges.some(({ scheme }) => scheme === "basic")) {
      throw denied("failed to find supported auth scheme");
    }
    const credentials = await this.#ownCredentials(header);
    if (credentials?.header) this.#fixed = credentials.header;
    else if (!credentials?.username || !credentials.secret) throw denied("no basic auth credentials");
    else this.#fixed = basic(credentials);
    return true;
  }

  #ownCredentials(challenge: string): Promise<Credentials | undefined> {
    this.#credentials ??= this.#ask?.(this.#host, challenge === "" ? [] : [challenge]) ?? Promise.resolve(undefined);
    return this.#credentials;
  }

  #issuerOf(realm: string, service: string): Issuer {
    let url: URL;
    try {
      url = new URL(realm);
    } catch {
      throw denied("the registry names an invalid server of tokens");
    }
    const isPlain = url.protocol === "http:" && this.#scheme === "https" && !isLoopback(url.host);
    if ((url.protocol !== "https:" && url.protocol !== "http:") || isPlain) {
      throw denied(`the registry wants credentials to be sent to ${tellable(realm)}, which is not safe`);
    }
    return { realm, service };
  }

  /** Gets a token; who asks for the same one meanwhile waits for it too. */
  #renew(key: string, scopes: readonly string[], signal: AbortSignal): Promise<Token> {
    const token = this.#fetchToken(scopes, signal);
    this.#tokens.set(key, token);
    token.catch(() => {
      if (this.#tokens.get(key) === token) this.#tokens.delete(key);
    });
    return token;
  }

  async #fetchToken(scopes: readonly string[], signal: AbortSignal): Promise<Token> {
    const issuer = this.#issuer;
    if (issuer === undefined) throw denied("no server of tokens");
    const credentials = await this.#ownCredentials("");
    if (!credentials?.secret) return this.#get(issuer, scopes, undefined, signal);
    try {
      return await this.#post(issuer, scopes, credentials, signal);
    } catch (error) {
      // Many servers of tokens know only GET; then a refresh token cannot be shown.
      if (!(error instanceof NotHere) || credentials.username === "") throw error;
      return this.#get(issuer, scopes, credentials, signal);
    }
  }

  #get(
    issuer: Issuer,
    scopes: readonly string[],
    credentials: Credentials | undefined,
    signal: AbortSignal,
  ): Promise<Token> {
    const url = new URL(issuer.realm);
    if (issuer.service !== "") url.searchParams.append("service", issuer.service);
    for (const scope of scopes) url.searchParams.append("scope", scope);
    const headers = credentials ? { authorization: basic(credentials) } : {};
    return this.#request("GET", url.href, { headers }, signal);
  }

  #post(
    { realm, service }: Issuer,
    scopes: readonly string[],
    credentials: Credentials,
    signal: AbortSignal,
  ): Promise<Token> {
    const { username, secret } = credentials;
    const form = new URLSearchParams({ scope: scopes.join(" "), service, client_id: "containerd-client" });
    if (username === "") {
      form.set("grant_type", "refresh_token");
      form.set("refresh_token", secret);
    } else {
      form.set("grant_type", "password");
      form.set("username", username);
      form.set("password", secret);
    }
    const headers = { "content-type": "application/x-www-form-urlencoded; charset=utf-8" };
    return this.#request("POST", realm, { headers, body: form.toString() }, signal);
  }

  async #request(
    method: "GET" | "POST",
    url: string,
    init: { headers: Record<string, string>; body?: string },
    signal: AbortSignal,
  ): Promise<Token> {
    let response: Response;
    try {
      response = await fetch(url, {
        method,
        ...init,
        // A redirect would take the credentials elsewhere.
        redirect: "manual",
        signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT)]),
        ...(this.#tls ? { tls: this.#tls } : {}),
      });
    } catch (error) {
      if (signal.aborted) throw error;
      throw noAnswer(method, url, error);
    }
    if (method === "POST" && [400, 401, 404, 405].includes(response.status)) {
      await response.body?.cancel();
      throw new NotHere();
    }
    if (!response.ok) {
      const error = await unexpectedStatus(method, url, response);
      const what = `failed to fetch ${init.headers["authorization"] || method === "POST" ? "oauth" : "anonymous"} token`;
      if (error instanceof TransientError)
        throw new TransientError(`${what}: ${error.message}`, { retryAfter: error.retryAfter });
      throw denied(`${what}: ${error.message}`);
    }
    return parseToken(await readText(response, MAX_ANSWER));
  }
}

/** The server of tokens does not know POST, or not these credentials by it. */
class NotHere extends ContainerdError {
  constructor() {
    super(Code.Unknown, "authorization failed: the server of tokens refuses the credentials");
  }
}

function basic({ username, secret }: Credentials): string {
  return `Basic ${Buffer.from(`${username}:${secret}`).toString("base64")}`;
}

function parseToken(body: string): Token {
  let answer: { token?: unknown; access_token?: unknown; expires_in?: unknown } | null;
  try {
    answer = JSON.parse(body) as typeof answer;
  } catch {
    throw denied("unable to decode token response");
  }
  const value = answer?.access_token ?? answer?.token;
  if (typeof value !== "string" || value === "" || /[^\x21-\x7e]/.test(value)) {
    throw denied("authorization server did not include a token in the response");
  }
  const given = typeof answer?.expires_in === "number" ? answer.expires_in : DEFAULT_SECONDS;
  // Somewhat less, for the way to the registry; never nothing, or every request would ask anew.
  const seconds = Math.max(10, given * 0.9);
  return { value, until: performance.now() + seconds * 1000 };
}
