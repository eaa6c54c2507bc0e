import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Credentials } from "../../../../supervisor/image/auth-stream.ts";
import type { Descriptor } from "../../../../supervisor/image/descriptor.ts";
import { fetchBlob } from "../../../../supervisor/image/fetch.ts";
import { openRegistry } from "../../../../supervisor/image/registry/open.ts";
import type { Registry } from "../../../../supervisor/image/registry.ts";
import { blobsOf } from "../../../../supervisor/image/session.ts";
import { brokenOff, FakeRegistry, type FakeRegistryOptions } from "../../../lib/fake-registry.ts";
import { outcome } from "../../../lib/outcome.ts";
import { SilentHost } from "../../../lib/silent-host.ts";
import { Rig } from "../content/rig.ts";

let rig: Rig;
const registries: FakeRegistry[] = [];
const directories: string[] = [];
const { signal } = new AbortController();

beforeEach(async () => {
  rig = await new Rig().open();
});
afterEach(async () => {
  for (const registry of registries.splice(0)) registry.stop();
  for (const directory of directories.splice(0)) rmSync(directory, { recursive: true });
  await rig.stop();
  rig.remove();
});

function fake(options: FakeRegistryOptions = {}): FakeRegistry {
  const registry = new FakeRegistry(options);
  registries.push(registry);
  return registry;
}

function open(
  reference: string,
  more: { credentials?: Credentials; hostDirectory?: string; headers?: Record<string, string> } = {},
): Registry {
  const { credentials } = more;
  return openRegistry({
    reference,
    headers: more.headers ?? {},
    hostDirectory: more.hostDirectory ?? "",
    defaultScheme: more.hostDirectory === undefined ? "http" : "",
    credentials: credentials && { get: () => Promise.resolve(credentials) },
  });
}

function hostsDirectory(host: string, toml: string): string {
  const root = mkdtempSync(join(tmpdir(), "berth-hosts-"));
  directories.push(root);
  mkdirSync(join(root, host));
  writeFileSync(join(root, host, "hosts.toml"), toml);
  return root;
}

const user: Credentials = { username: "user", secret: "secret", header: "" };
const blobs = () => blobsOf(rig.store, { namespace: "default", lease: undefined });
const fetchTo = (registry: Registry, descriptor: Descriptor): Promise<boolean> =>
  fetchBlob(registry, blobs(), descriptor, { signal, moved() {} });
const random = (size: number): Uint8Array => crypto.getRandomValues(new Uint8Array(Math.min(size, 65536)));
const large = Buffer.concat(Array.from({ length: 48 }, () => random(65536)));

async function failure(work: Promise<unknown>): Promise<string> {
  try {
    await work;
  } catch (error) {
    return (error as Error).message;
  }
  throw new Error("it did not fail");
}

test("a name is resolved by HEAD, and a blob fetched", async () => {
  const registry = fake();
  const manifest = registry.manifest("a/b", "1", { hello: 1 });
  const layer = registry.blob(large);
  const repository = open(`${registry.host}/a/b:1`);
  expect(await repository.resolve(signal)).toEqual(manifest);
  expect(await fetchTo(repository, layer)).toBe(true);
  expect(await fetchTo(repository, layer)).toBe(false);
  expect(registry.asked.map(({ method, path }) => `${method} ${path}`)).toEqual([
    "HEAD /v2/a/b/manifests/1",
    `GET /v2/a/b/blobs/${layer.digest}`,
  ]);
});

test("a registry that tells neither digest nor length is asked by GET", async () => {
  const registry = fake();
  const manifest = registry.manifest("a", "1", { hello: 1 });
  registry.faults.push(({ method }) => (method === "HEAD" ? new Response("", { status: 405 }) : undefined));
  expect(await open(`${registry.host}/a:1`).resolve(signal)).toEqual(manifest);
});

test("what is not there is not found, in containerd's words", async () => {
  const registry = fake();
  const name = `${registry.host}/a:1`;
  expect(await failure(open(name).resolve(signal))).toBe(`${name}: not found`);
  const layer = { mediaType: "application/vnd.oci.image.layer.v1.tar", digest: `sha256:${"a".repeat(64)}`, size: 3 };
  expect(await failure(fetchTo(open(name), layer))).toBe(
    `could not fetch content descriptor ${layer.digest} (${layer.mediaType}) from remote: not found`,
  );
});

test("schema 1 is refused", async () => {
  const registry = fake();
  registry.manifest("a", "1", {}, "application/vnd.docker.distribution.manifest.v1+prettyjws");
  expect(await failure(open(`${registry.host}/a:1`).resolve(signal))).toContain(
    "schema 1 image manifests are no longer",
  );
});

test("a body that breaks off is resumed where it stopped", async () => {
  const registry = fake();
  const layer = registry.blob(large);
  let left = 2;
  registry.faults.push(({ method, path, headers }) => {
    if (method !== "GET" || !path.includes("blobs") || left-- <= 0) return undefined;
    const from = Number(/\d+/.exec(headers["range"] ?? "")?.[0] ?? 0);
    const range = from > 0 ? { "content-range": `bytes ${from}-${large.length - 1}/${large.length}` } : {};
    return brokenOff(large.subarray(from), 1_100_000, range as Record<string, string>, from > 0 ? 206 : 200);
  });
  expect(await fetchTo(open(`${registry.host}/a:1`), layer)).toBe(true);
  const ranges = registry.asked.map(({ headers }) => headers["range"]);
  expect(ranges).toHaveLength(3);
  expect(ranges[2]).toMatch(/^bytes=[1-9]/);
});

test("a server that ignores or refuses ranges is read from the beginning", async () => {
  for (const answer of ["ignore", "refuse"]) {
    const registry = fake();
    const layer = registry.blob(Buffer.concat([large, Buffer.from(answer)]));
    const bytes = registry.blobs.get(layer.digest) ?? large;
    let isFirst = true;
    registry.faults.push(({ headers }) => {
      if (isFirst) {
        isFirst = false;
        return brokenOff(bytes, 1_200_000);
      }
      if (headers["range"] === undefined) return undefined;
      return answer === "refuse" ? new Response("", { status: 416 }) : new Response(Buffer.from(bytes));
    });
    expect(await fetchTo(open(`${registry.host}/a:1`), layer)).toBe(true);
  }
});

test("wrong bytes are refused, and do not spoil the next attempt", async () => {
  const registry = fake();
  const layer = registry.blob(large);
  let isBad = true;
  registry.faults.push(() => {
    if (!isBad) return undefined;
    const bytes = Buffer.from(large);
    bytes[5] = (bytes[5] ?? 0) ^ 1;
    return new Response(bytes);
  });
  expect(await failure(fetchTo(open(`${registry.host}/a:1`), layer))).toMatch(
    /^failed commit on ref "layer-sha256:\w+": unexpected commit digest sha256:\w+, expected sha256:\w+: failed precondition$/,
  );
  isBad = false;
  expect(await fetchTo(open(`${registry.host}/a:1`), layer)).toBe(true);
});

test("a body that never ends is cut off at the size that was told", async () => {
  const registry = fake();
  const layer = registry.blob("four");
  registry.faults.push(() => new Response(large));
  expect(await failure(fetchTo(open(`${registry.host}/a:1`), layer))).toContain("sent more than the 4 bytes");
});

test("a server that is overloaded is asked again, as late as it asks for", async () => {
  const registry = fake();
  const manifest = registry.manifest("a", "1", { hello: 1 });
  const statuses = [503, 429];
  const at: number[] = [];
  registry.faults.push(() => {
    at.push(performance.now());
    const status = statuses.shift();
    if (status === undefined) return undefined;
    return new Response("", { status, headers: status === 429 ? { "retry-after": "1" } : {} });
  });
  expect(await open(`${registry.host}/a:1`).resolve(signal)).toEqual(manifest);
  expect((at[2] ?? 0) - (at[1] ?? 0)).toBeGreaterThan(990);
});

test("a server that is down for long is an error with its status", async () => {
  const registry = fake();
  registry.faults.push(() => new Response("", { status: 429, headers: { "retry-after": "86400" } }));
  expect(await failure(open(`${registry.host}/a:1`).resolve(signal))).toContain("asks to come back in 86400 s");
});

test("basic authorization is shown when it is asked for", async () => {
  const registry = fake({ auth: "basic" });
  registry.manifest("a", "1", { hello: 1 });
  const name = `${registry.host}/a:1`;
  await open(name, { credentials: user }).resolve(signal);
  expect(registry.asked[0]?.headers["authorization"]).toBeUndefined();
  const wrong = { ...user, secret: "guessed-password" };
  const told = await failure(open(name, { credentials: wrong }).resolve(signal));
  expect(told).toBe(`unexpected status from HEAD request to ${registry.url}/v2/a/manifests/1: 401 Unauthorized`);
  expect(told).not.toContain("guessed-password");
  expect(await failure(open(name).resolve(signal))).toBe(
    "pull access denied, repository does not exist or may require authorization: authorization failed: no basic auth credentials",
  );
});

test("a token is got once for many blobs, by POST, by GET, and for nobody", async () => {
  for (const { options, credentials, method } of [
    { options: {}, credentials: user, method: "POST" },
    { options: { tokensByGetAlone: true }, credentials: user, method: "GET" },
    { options: {}, credentials: undefined, method: "GET" },
    { options: {}, credentials: { username: "", secret: "secret", header: "" }, method: "POST" },
  ]) {
    const registry = fake({ auth: "bearer", ...options });
    registry.manifest("a/b", "1", { hello: 1 });
    const layers = Array.from({ length: 5 }, (_, i) => registry.blob(`${method} ${i} ${Math.random()}`));
    const repository = open(`${registry.host}/a/b:1`, credentials ? { credentials } : {});
    await repository.resolve(signal);
    await Promise.all(layers.map((layer) => fetchTo(repository, layer)));
    const granted = registry.tokenRequests.at(-1);
    expect(granted?.method).toBe(method);
    expect(granted?.parameters).toMatchObject({ scope: "repository:a/b:pull", service: "fake" });
    expect(registry.tokenRequests.length).toBe(options.tokensByGetAlone ? 2 : 1);
  }
});

test("a token that is refused is renewed once", async () => {
  const registry = fake({ auth: "bearer" });
  registry.manifest("a", "1", { hello: 1 });
  const repository = open(`${registry.host}/a:1`, { credentials: user });
  await repository.resolve(signal);
  registry.faults.push(({ headers, path }) =>
    path.startsWith("/v2") && headers["authorization"] === "Bearer token-1"
      ? new Response("", {
          status: 401,
          headers: { "www-authenticate": `Bearer realm="${registry.url}/token",error="invalid_token"` },
        })
      : undefined,
  );
  await repository.resolve(signal);
  expect(registry.tokenRequests).toHaveLength(2);
});

test("wrong credentials end in an error without them", async () => {
  const registry = fake({ auth: "bearer" });
  registry.manifest("a", "1", { hello: 1 });
  const credentials = { username: "user", secret: "hunter2-wrong", header: "" };
  const told = await failure(open(`${registry.host}/a:1`, { credentials }).resolve(signal));
  expect(told).toContain("authorization failed");
  expect(told).not.toContain("hunter2");
});

test("nothing secret goes to where a host redirects", async () => {
  const storage = fake();
  const registry = fake({ auth: "basic" });
  const layer = registry.blob(large);
  registry.faults.push(({ method, path, headers }) =>
    method === "GET" && path.includes("/blobs/") && headers["authorization"] !== undefined
      ? new Response("", { status: 307, headers: { location: `http://${storage.host}/elsewhere?signature=s3cret` } })
      : undefined,
  );
  storage.faults.push(({ path }) => (path.startsWith("/elsewhere") ? new Response(large) : undefined));
  const repository = open(`${registry.host}/a:1`, { credentials: user, headers: { "X-Key": "k3y" } });
  expect(await fetchTo(repository, layer)).toBe(true);
  expect(storage.asked).toHaveLength(1);
  expect(storage.asked[0]?.headers["authorization"]).toBeUndefined();
  expect(storage.asked[0]?.headers["x-key"]).toBeUndefined();
  expect(registry.asked.every(({ headers }) => headers["x-key"] === "k3y")).toBe(true);
  storage.faults.unshift(() => new Response("", { status: 403 }));
  const other = registry.blob("another");
  const told = await failure(fetchTo(repository, other));
  expect(told).toContain("403");
  expect(told).not.toContain("s3cret");
});

test("a host that was redirected to cannot ask for the registry's credentials", async () => {
  const registry = fake({ auth: "basic", username: "user", password: "secret" });
  const [storage, thief] = [fake(), fake()];
  const layer = registry.blob(large);
  for (const challenge of [`Bearer realm="${thief.url}/token",service="x"`, "Basic realm=x"]) {
    registry.faults.splice(0);
    registry.faults.push(({ path }) =>
      path.includes("/blobs/") ? Response.redirect(`${storage.url}/stolen`, 307) : undefined,
    );
    storage.faults.splice(0);
    storage.faults.push(() => new Response("", { status: 401, headers: { "www-authenticate": challenge } }));
    const repository = open(`${registry.host}/a:1`, { credentials: user });
    expect(await failure(fetchTo(repository, layer))).toContain("401");
  }
  expect(thief.asked).toEqual([]);
  for (const { headers } of storage.asked) expect(headers["authorization"]).toBeUndefined();
});

test("a registry on loopback that turns out to speak no TLS is shown credentials", async () => {
  const registry = fake({ auth: "basic" });
  const manifest = registry.manifest("a", "1", { hello: 1 });
  expect(await open(`${registry.host}/a:1`, { credentials: user, hostDirectory: "" }).resolve(signal)).toEqual(
    manifest,
  );
});

test("of several first requests at once to a registry on loopback without TLS none fails", async () => {
  const registry = fake();
  const descriptors = [1, 2, 3].map((n) => registry.blob(Buffer.from(`blob ${n}`)));
  const fresh = open(`${registry.host}/a/b:1`, { hostDirectory: "" });
  const read = async (descriptor: Descriptor): Promise<boolean> => {
    for await (const _ of await fresh.fetch(descriptor, 0, signal)) return true;
    return false;
  };
  expect(await Promise.all(descriptors.map(read))).toEqual([true, true, true]);
});

test("redirects without end are given up", async () => {
  const registry = fake();
  registry.faults.push(({ path }) => new Response("", { status: 302, headers: { location: `${path}x` } }));
  expect(await failure(open(`${registry.host}/a:1`).resolve(signal))).toBe("stopped after 10 redirects");
});

test("mirrors are asked in order, with the name of the registry, and are not trusted with names unless told", async () => {
  const upstream = fake();
  const [dead, mirror] = [fake(), fake()];
  const manifest = upstream.manifest("a", "1", { hello: 1 });
  const layer = mirror.blob(large);
  upstream.blob(large);
  dead.faults.push(() => new Response("", { status: 500 }));
  const hostDirectory = hostsDirectory(
    "registry.example",
    `server = "${upstream.url}"
[host."${dead.url}"]
capabilities = ["pull"]
[host."${mirror.url}"]
capabilities = ["pull"]
[host."${mirror.url}".header]
x-mirror = "yes"
`,
  );
  const repository = open("registry.example/a:1", { hostDirectory });
  expect(await repository.resolve(signal)).toEqual(manifest);
  expect(dead.asked).toHaveLength(0);
  expect(await fetchTo(repository, layer)).toBe(true);
  expect(dead.asked).toHaveLength(1);
  expect(mirror.asked.map(({ path, headers }) => `${path} ${headers["x-mirror"]}`)).toEqual([
    `/v2/a/blobs/${layer.digest}?ns=registry.example yes`,
  ]);
});

test("blobs and manifests are pushed, and what is there is not", async () => {
  const registry = fake({ auth: "bearer" });
  const digest = await rig.put(large.toString("latin1").slice(0, 70_000));
  const size = Number((await rig.store.info("default", digest)).size);
  const layer = { mediaType: "application/vnd.oci.image.layer.v1.tar", digest, size };
  const repository = open(`${registry.host}/a/b:1`, { credentials: user });
  const moved: number[] = [];
  const push = (descriptor: Descriptor, isRoot = false): Promise<boolean> =>
    repository.push(descriptor, () => blobs().open(descriptor.digest), { signal, isRoot, moved: (n) => moved.push(n) });
  expect(await push(layer)).toBe(true);
  expect(await push(layer)).toBe(false);
  expect(moved.at(-1)).toBe(size);
  expect(registry.blobs.get(digest)?.length).toBe(size);
  expect(registry.tokenRequests[0]?.parameters["scope"]).toBe("repository:a/b:pull,push");
  const document = await rig.put('{"schemaVersion":2}');
  const manifest = { mediaType: "application/vnd.oci.image.manifest.v1+json", digest: document, size: 19 };
  expect(await push(manifest)).toBe(true);
  expect(registry.manifests.has("a/b 1")).toBe(false);
  expect(await push(manifest, true)).toBe(true);
  expect(registry.manifests.has("a/b 1")).toBe(true);
});

test("a blob is mounted from a repository that has it", async () => {
  const registry = fake();
  const digest = await rig.put("mounted");
  registry.blob("mounted");
  let isHidden = true;
  registry.faults.push(({ method }) => (method === "HEAD" && isHidden ? new Response("", { status: 404 }) : undefined));
  const descriptor = {
    mediaType: "application/vnd.oci.image.layer.v1.tar",
    digest,
    size: 7,
    annotations: { "containerd.io/distribution.source.127.0.0.1": "a/other" },
  };
  const options = { signal, isRoot: false, moved() {} };
  expect(await open(`${registry.host}/a/b:1`).push(descriptor, () => blobs().open(digest), options)).toBe(false);
  isHidden = false;
  expect(registry.asked.at(-1)?.path).toContain(`mount=${encodeURIComponent(digest)}&from=a%2Fother`);
});

test("an upload that breaks off goes on where it stopped", async () => {
  const registry = fake();
  const text = large.toString("latin1");
  const digest = await rig.put(text.slice(0, 2_500_000).replace(/[^\0-\x7f]/g, "x"));
  const { size } = await rig.store.info("default", digest);
  let isFirst = true;
  const received: string[] = [];
  registry.faults.push(async ({ method, path }, request) => {
    received.push(`${method} ${request.headers.get("content-range") ?? ""}`);
    if (method !== "PUT" || !isFirst) return undefined;
    isFirst = false;
    // Takes a part, as a registry that is restarted in the middle has it.
    const part = new Uint8Array(await request.arrayBuffer());
    const target = `${registry.url}${path.replace(/&digest.*/, "")}`;
    await fetch(target, { method: "PATCH", body: part.slice(0, 1_000_000) });
    return new Response("", { status: 502 });
  });
  const descriptor = { mediaType: "application/vnd.oci.image.layer.v1.tar", digest, size };
  const options = { signal, isRoot: false, moved() {} };
  expect(await open(`${registry.host}/a:1`).push(descriptor, () => blobs().open(digest), options)).toBe(true);
  expect(received.filter((line) => line.includes("1000000-"))).toEqual([`PATCH 1000000-${size - 1}`]);
  expect(registry.blobs.has(digest)).toBe(true);
});

test("a fetch ends when its caller has gone", async () => {
  const registry = fake();
  const layer = registry.blob(large);
  registry.faults.push(({ path }) =>
    path.includes("blobs")
      ? new Response(new ReadableStream({ start: (controller) => controller.enqueue(large.subarray(0, 1000)) }))
      : undefined,
  );
  const controller = new AbortController();
  const fetching = fetchBlob(open(`${registry.host}/a:1`), blobs(), layer, { signal: controller.signal, moved() {} });
  await Bun.sleep(50);
  controller.abort();
  expect(await failure(fetching)).toBe("context canceled");
});

test("an error whose text never ends is told without its end", async () => {
  const registry = fake();
  const layer = registry.blob(large);
  registry.faults.push(({ method }) => {
    if (method !== "GET") return undefined;
    const body = new ReadableStream<Uint8Array>({
      start: (controller) => controller.enqueue(new TextEncoder().encode('{"errors":[')),
      pull: () => new Promise(() => undefined),
    });
    return new Response(body, { status: 403 });
  });
  const told = failure(fetchTo(open(`${registry.host}/a:1`), layer));
  expect(await Promise.race([told, Bun.sleep(4_000).then(() => "hangs")])).toContain("403 Forbidden");
});

test("dial_timeout is for the connection: a mirror may take longer to answer", async () => {
  const registry = fake();
  const manifest = registry.manifest("a", "1", { hello: 1 });
  registry.faults.push(async () => {
    await Bun.sleep(300);
    return undefined;
  });
  const toml = `[host."${registry.url}"]\ncapabilities = ["pull", "resolve"]\ndial_timeout = "100ms"\n`;
  const root = hostsDirectory("registry.invalid", toml);
  expect(await open("registry.invalid/a:1", { hostDirectory: root }).resolve(signal)).toEqual(manifest);
});

test("a mirror that takes no connection within dial_timeout is passed over", async () => {
  const registry = fake();
  const manifest = registry.manifest("a", "1", { hello: 1 });
  const toml = `[host."http://192.0.2.1:5000"]
capabilities = ["pull", "resolve"]
dial_timeout = "100ms"
[host."${registry.url}"]
capabilities = ["pull", "resolve"]
`;
  const root = hostsDirectory("registry.invalid", toml);
  const begun = performance.now();
  expect(await open("registry.invalid/a:1", { hostDirectory: root }).resolve(signal)).toEqual(manifest);
  expect(performance.now() - begun).toBeLessThan(1_500);
});

test("a registry that takes no connection is tried twice, not until somebody gives up", async () => {
  await using silent = await SilentHost.open();
  const root = hostsDirectory("registry.invalid", `server = "${silent.url}"\ndial_timeout = "100ms"\n`);
  const begun = performance.now();
  const resolving = open("registry.invalid/a:1", { hostDirectory: root }).resolve(signal);
  expect(await outcome(resolving)).toThrow("no connection within 100 ms");
  // Five attempts have waits of three seconds between them.
  expect(performance.now() - begun).toBeLessThan(2_000);
});
