/** Who may see the status, and who may change something. */

import { timingSafeEqual } from "node:crypto";
import { readFileSync } from "node:fs";
import { hostname } from "node:os";
import { isAbsolute } from "node:path";
import { ConfigError } from "../config/read.ts";

/** `[status]`. */
export interface StatusConfig {
  readonly address: string;
  readonly token: string;
  readonly tokenFile: string;
  readonly names: string;
}

/** Shortest token: one that cannot be guessed. */
const MIN_TOKEN = 16;

/** What a request is for: to see, or to change. */
export type Purpose = "read" | "write";

/** The rules of one daemon. */
export class Access {
  readonly #token: string;
  /** True when everybody who reaches the address may read. */
  readonly #isOpen: boolean;
  readonly #isTcp: boolean;
  readonly #names: ReadonlySet<string>;

  /** @throws ConfigError for an address that needs a token and has none, and for a token that is none */
  constructor(config: StatusConfig) {
    this.#token = tokenOf(config);
    this.#isTcp = config.address !== "" && !isAbsolute(config.address);
    this.#isOpen = !this.#isTcp || isLoopback(config.address);
    if (!this.#isOpen && this.#token === "") {
      throw new ConfigError(
        `[status] address ${config.address} can be reached from other machines and needs a token: set [status] token or token_file, or use an address of loopback`,
      );
    }
    const named = config.names.split(/[\s,]+/).filter((name) => name !== "");
    this.#names = new Set(["localhost", hostname(), ...named].map((name) => name.toLowerCase()));
  }

  /** True when a token lets its owner change something. */
  get hasToken(): boolean {
    return this.#token !== "";
  }

  /** The refusal of a request; undefined for one that is allowed. */
  refusal(request: Request, purpose: Purpose): Response | undefined {
    if (this.#isTcp && !this.#isOurs(request.headers.get("host") ?? "")) {
      return refuse(421, "this host name is not ours: use the address itself, or add the name to [status] names");
    }
    if (purpose === "write") return this.#writeRefusal(request);
    if (this.#isOpen || this.#hasToken(request, ["bearer", "basic"])) return undefined;
    return refuse(401, "the token is needed: as the password, or as a bearer token", {
      "www-authenticate": 'Basic realm="berth: any user, the token for a password", charset="UTF-8"',
    });
  }

  /** What a browser adds to a request by itself lets nobody change anything: the token is sent by the page alone. */
  #writeRefusal(request: Request): Response | undefined {
    const site = request.headers.get("sec-fetch-site") ?? "none";
    if (site !== "none" && site !== "same-origin") return refuse(403, "not from another site");
    if (this.#token === "") {
      return refuse(403, "read-only: set [status] token or token_file to change something here");
    }
    if (this.#hasToken(request, ["bearer"])) return undefined;
    return refuse(401, "the token is needed, as a bearer token", { "www-authenticate": "Bearer" });
  }

  #hasToken(request: Request, schemes: readonly string[]): boolean {
    if (this.#token === "") return false;
    const [, scheme = "", value = ""] = /^(\w+) +(\S+)$/.exec(request.headers.get("authorization") ?? "") ?? [];
    if (!schemes.includes(scheme.toLowerCase())) return false;
    const given = scheme.toLowerCase() === "bearer" ? value : passwordOf(value);
    return isSame(given, this.#token);
  }

  /**
   * A page of another site whose name was made to point here has that name in Host; addresses and our own names it cannot
   * have.
   */
  #isOurs(host: string): boolean {
    const name = host.replace(/:\d+$/, "").replace(/\.$/, "").toLowerCase();
    if (/^\[[0-9a-f:.]+\]$/.test(name) || /^\d+(?:\.\d+){3}$/.test(name)) return true;
    return this.#names.has(name);
  }
}

function refuse(status: number, why: string, headers: Readonly<Record<string, string>> = {}): Response {
  return new Response(`${why}\n`, { status, headers: { "content-type": "text/plain; charset=utf-8", ...headers } });
}

function tokenOf({ token, tokenFile }: StatusConfig): string {
  if (token !== "" && tokenFile !== "") throw new ConfigError("[status] token and token_file: only one of them");
  const found = tokenFile === "" ? token : readToken(tokenFile);
  if (found === "" && tokenFile === "") return "";
  if (found.length < MIN_TOKEN || /[^\x21-\x7e]/.test(found)) {
    throw new ConfigError(
      `[status] the token must have at least ${MIN_TOKEN} characters, without spaces, as \`openssl rand -hex 32\` makes them`,
    );
  }
  return found;
}

function readToken(path: string): string {
  try {
    return readFileSync(path, "utf8").trim();
  } catch (error) {
    throw new ConfigError(`[status] token_file: ${(error as Error).message}`);
  }
}

function passwordOf(basic: string): string {
  const text = Buffer.from(basic, "base64").toString("utf8");
  return text.slice(text.indexOf(":") + 1);
}

/** Compares in a time that does not tell how much is right. */
function isSame(given: string, token: string): boolean {
  const hash = (text: string): Uint8Array => new Bun.CryptoHasher("sha256").update(text).digest();
  return timingSafeEqual(hash(given), hash(token));
}

/** True for an address that only this machine reaches. */
function isLoopback(address: string): boolean {
  const name = address.replace(/:\d+$/, "").toLowerCase();
  return name === "localhost" || name === "[::1]" || /^127(?:\.\d+){3}$/.test(name);
}
