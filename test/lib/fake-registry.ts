/** A registry in the test's own process, that fails on cue and remembers what it was asked. */

import type { Server } from "bun";

/** What was asked. */
export interface Asked {
  readonly method: string;
  /** With the query. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** Answers in the registry's place; undefined lets it answer. */
export type Fault = (asked: Asked, request: Request) => Response | undefined | Promise<Response | undefined>;

/** How a registry wants to be told who asks. */
export interface FakeRegistryOptions {
  readonly auth?: "basic" | "bearer" | undefined;
  readonly username?: string;
  readonly password?: string;
  readonly tls?: { cert: string; key: string; ca?: string; requestCert?: boolean; rejectUnauthorized?: boolean };
  /** Answers 405 to POST at the server of tokens. */
  readonly tokensByGetAlone?: boolean;
}

const digestOf = (bytes: Uint8Array): string => `sha256:${new Bun.CryptoHasher("sha256").update(bytes).digest("hex")}`;

/** One registry on loopback. */
export class FakeRegistry {
  readonly blobs = new Map<string, Uint8Array>();
  /** By `REPOSITORY TAG` and `REPOSITORY DIGEST`. */
  readonly manifests = new Map<string, { type: string; bytes: Uint8Array }>();
  readonly asked: Asked[] = [];
  /** Asked first, in order. */
  readonly faults: Fault[] = [];
  /** What was given to the server of tokens. */
  readonly tokenRequests: { method: string; authorization: string; parameters: Record<string, string> }[] = [];
  readonly #uploads = new Map<string, Uint8Array>();
  readonly #options: FakeRegistryOptions;
  readonly #server: Server<undefined>;
  #count = 0;

  constructor(options: FakeRegistryOptions = {}) {
    this.#options = options;
    this.#server = Bun.serve({
      port: 0,
      hostname: "127.0.0.1",
      idleTimeout: 60,
      maxRequestBodySize: 1 << 30,
      ...(options.tls ? { tls: options.tls } : {}),
      fetch: (request) => this.#answer(request),
      // Bodies break off on purpose here.
      error: () => new Response("", { status: 500 }),
    });
  }

  /** `127.0.0.1:PORT`. */
  get host(): string {
    return `127.0.0.1:${this.#server.port}`;
  }

  get url(): string {
    return `${this.#options.tls ? "https" : "http"}://${this.host}`;
  }

  stop(): void {
    this.#server.stop(true);
  }

  /** Adds a blob. @returns its descriptor */
  blob(bytes: Uint8Array | string, mediaType = "application/vnd.oci.image.layer.v1.tar") {
    const data = typeof bytes === "string" ? Buffer.from(bytes) : bytes;
    const digest = digestOf(data);
    this.blobs.set(digest, data);
    return { mediaType, digest, size: data.length };
  }

  /** Adds a manifest or index under its digest and a tag. @returns its descriptor */
  manifest(repository: string, tag: string, value: unknown, type = "application/vnd.oci.image.manifest.v1+json") {
    const bytes = Buffer.from(JSON.stringify(value));
    const digest = digestOf(bytes);
    for (const name of [tag, digest]) this.manifests.set(`${repository} ${name}`, { type, bytes });
    return { mediaType: type, digest, size: bytes.length };
  }

  async #answer(request: Request): Promise<Response> {
    const url = new URL(request.url);
    const path = `${url.pathname}${url.search}`;
    const isUpload = request.method === "PUT" || request.method === "PATCH";
    const asked: Asked = {
      method: request.method,
      path,
      headers: Object.fromEntries(request.headers),
      body: isUpload ? "" : await request.text(),
    };
    this.asked.push(asked);
    for (const fault of this.faults) {
      const answer = await fault(asked, request);
      if (answer !== undefined) return answer;
    }
    if (url.pathname === "/token") return this.#token(asked, url);
    const { auth } = this.#options;
    if (auth !== undefined && !this.#isAllowed(asked)) {
      const challenge =
        auth === "basic"
          ? 'Basic realm="fake"'
          : `Bearer realm="${this.url}/token",service="fake",scope="repository:x:pull"`;
      return new Response("{}", { status: 401, headers: { "www-authenticate": challenge } });
    }
    if (url.pathname === "/v2/") return Response.json({});
    return this.#serve(asked, request, url);
  }

  #isAllowed({ headers }: Asked): boolean {
    const { auth, username = "user", password = "secret" } = this.#options;
    const given = headers["authorization"];
    if (auth === "basic") return given === `Basic ${Buffer.from(`${username}:${password}`).toString("base64")}`;
    return given?.startsWith("Bearer token-") === true;
  }

  #token({ method, headers, body }: Asked, url: URL): Response {
    const { username = "user", password = "secret" } = this.#options;
    const parameters = Object.fromEntries(method === "POST" ? new URLSearchParams(body) : url.searchParams);
    const authorization = headers["authorization"] ?? "";
    this.tokenRequests.push({ method, authorization, parameters });
    if (method === "POST") {
      if (this.#options.tokensByGetAlone) return new Response("", { status: 405 });
      const isGood =
        (parameters["username"] === username && parameters["password"] === password) ||
        parameters["refresh_token"] === password;
      if (!isGood) return new Response("{}", { status: 401 });
    } else if (authorization !== "") {
      const good = `Basic ${Buffer.from(`${username}:${password}`).toString("base64")}`;
      if (authorization !== good) return new Response("{}", { status: 401 });
    }
    return Response.json({ token: `token-${++this.#count}`, expires_in: 300 });
  }

  async #serve({ method, path }: Asked, request: Request, url: URL): Promise<Response> {
    const [, repository = "", kind = "", name = ""] =
      /^\/v2\/(.+)\/(manifests|blobs\/uploads|blobs)\/?([^/?]*)/.exec(path) ?? [];
    if (kind === "manifests" && method === "PUT") {
      const bytes = new Uint8Array(await request.arrayBuffer());
      const digest = digestOf(bytes);
      const type = request.headers.get("content-type") ?? "";
      for (const key of [name, digest]) this.manifests.set(`${repository} ${key}`, { type, bytes });
      return new Response("", { status: 201, headers: { "docker-content-digest": digest } });
    }
    if (kind === "blobs/uploads") return this.#upload(method, repository, name, request, url);
    const manifest = kind === "manifests" ? this.manifests.get(`${repository} ${name}`) : undefined;
    const bytes = kind === "blobs" ? this.blobs.get(name) : manifest?.bytes;
    if (bytes === undefined) {
      return Response.json({ errors: [{ code: "MANIFEST_UNKNOWN", message: "manifest unknown" }] }, { status: 404 });
    }
    const headers: Record<string, string> = {
      "content-type": manifest?.type ?? "application/octet-stream",
      "docker-content-digest": digestOf(bytes),
      "content-length": String(bytes.length),
    };
    if (method === "HEAD") return new Response(null, { headers });
    const from = Number(/^bytes=(\d+)-$/.exec(request.headers.get("range") ?? "")?.[1] ?? 0);
    if (from === 0) return new Response(Buffer.from(bytes), { headers });
    const range = `bytes ${from}-${bytes.length - 1}/${bytes.length}`;
    const rest = { ...headers, "content-range": range, "content-length": String(bytes.length - from) };
    return new Response(Buffer.from(bytes.subarray(from)), { status: 206, headers: rest });
  }

  async #upload(method: string, repository: string, name: string, request: Request, url: URL): Promise<Response> {
    const mounted = url.searchParams.get("mount");
    if (method === "POST" && mounted !== null && this.blobs.has(mounted)) {
      return new Response("", { status: 201, headers: { "docker-content-digest": mounted } });
    }
    const id = method === "POST" ? `upload${++this.#count}` : name;
    const location = `/v2/${repository}/blobs/uploads/${id}?state=signed`;
    const before = this.#uploads.get(id) ?? new Uint8Array();
    if (method === "POST") this.#uploads.set(id, before);
    if (!this.#uploads.has(id)) return new Response("", { status: 404 });
    if (method === "GET") {
      const range = `0-${Math.max(0, before.length - 1)}`;
      return new Response(null, { status: 204, headers: { range, location } });
    }
    const parts: Uint8Array[] = [before];
    try {
      for await (const part of request.body ?? []) parts.push(part);
    } finally {
      this.#uploads.set(id, Buffer.concat(parts));
    }
    const bytes = this.#uploads.get(id) ?? before;
    if (method !== "PUT") return new Response("", { status: 202, headers: { location } });
    const digest = digestOf(bytes);
    if (digest !== url.searchParams.get("digest")) return new Response("{}", { status: 400 });
    this.blobs.set(digest, bytes);
    return new Response("", { status: 201, headers: { "docker-content-digest": digest } });
  }
}

/** An answer whose body breaks off after some of its bytes. */
export function brokenOff(
  bytes: Uint8Array,
  after: number,
  headers: Record<string, string> = {},
  status = 200,
): Response {
  const body = new ReadableStream({
    async start(controller) {
      controller.enqueue(bytes.slice(0, after));
      await Bun.sleep(20);
      // Fewer bytes than were announced: the connection is closed.
      controller.close();
    },
  });
  return new Response(body, { status, headers: { "content-length": String(bytes.length), ...headers } });
}
