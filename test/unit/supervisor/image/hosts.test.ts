import { afterEach, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseChallenges } from "../../../../supervisor/image/registry/challenge.ts";
import { hostsOf } from "../../../../supervisor/image/registry/hosts.ts";
import { parseHostsFile } from "../../../../supervisor/image/registry/hosts-file.ts";
import { openRegistry } from "../../../../supervisor/image/registry/open.ts";
import { FakeRegistry } from "../../../lib/fake-registry.ts";

const made: string[] = [];
afterEach(() => {
  for (const directory of made.splice(0)) rmSync(directory, { recursive: true });
});

function directory(files: Record<string, string>): string {
  const root = mkdtempSync(join(tmpdir(), "berth-hosts-"));
  made.push(root);
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(join(root, name, ".."), { recursive: true });
    writeFileSync(join(root, name), text);
  }
  return root;
}

const usual = { directory: "", defaultScheme: "" };

test("without files a registry is asked under its own name", async () => {
  const told = async (name: string, options = usual): Promise<string> => {
    const [host] = await hostsOf(name, options);
    return `${host?.scheme}://${host?.host}${host?.path}${host?.fallsBack ? " falls back" : ""}${host?.tls?.rejectUnauthorized === false ? " unverified" : ""}`;
  };
  expect(await told("docker.io")).toBe("https://registry-1.docker.io/v2");
  expect(await told("ghcr.io")).toBe("https://ghcr.io/v2");
  expect(await told("localhost:5000")).toBe("https://localhost:5000/v2 falls back unverified");
  expect(await told("127.0.0.1")).toBe("https://127.0.0.1/v2 unverified");
  expect(await told("localhost:80")).toBe("http://localhost:80/v2");
  expect(await told("[::1]:5000")).toBe("https://[::1]:5000/v2 falls back unverified");
  expect(await told("reg:5000", { ...usual, defaultScheme: "http" })).toBe("http://reg:5000/v2");
  expect(await told("127.0.0.1.evil.example:5000")).toBe("https://127.0.0.1.evil.example:5000/v2");
});

test("hosts.toml is read in order, the server last", () => {
  const hosts = parseHostsFile(
    `server = "https://registry.example"
ca = "ca.crt"
[host."https://b.example/proxy"]
  capabilities = ["pull", "resolve"]
  client = [["c.cert", "/abs/c.key"], "both.pem"]
  skip_verify = true
[host."http://a.example:8080/v2"]
  dial_timeout = "1m30s"
  [host."http://a.example:8080/v2".header]
    x-one = "1"
    x-many = ["a", "b"]
[host."https://c.example/api"]
  override_path = true
`,
    "/dir",
  );
  expect(hosts).toEqual([
    {
      scheme: "https",
      host: "b.example",
      path: "/proxy/v2",
      capabilities: new Set(["pull", "resolve"]),
      client: [
        ["/dir/c.cert", "/abs/c.key"],
        ["/dir/both.pem", ""],
      ],
      skipVerify: true,
    },
    {
      scheme: "http",
      host: "a.example:8080",
      path: "/v2",
      headers: [
        ["x-one", "1"],
        ["x-many", "a"],
        ["x-many", "b"],
      ],
      dialTimeout: 90_000,
    },
    { scheme: "https", host: "c.example", path: "/api" },
    { scheme: "https", host: "registry.example", path: "/v2", ca: ["/dir/ca.crt"] },
  ] as unknown as typeof hosts);
});

test("a wrong hosts.toml is an error that says what and where", () => {
  for (const [text, what] of [
    ["server = 5", "server is no string"],
    ["server = ", "hosts.toml"],
    ['[host."https://a"]\ncapabilities = ["fly"]', "unknown capability fly"],
    ["ca = 5", 'invalid type for "ca"'],
    ["client = [[1, 2]]", 'invalid pair for "client"'],
    ['dial_timeout = "soon"', "invalid duration"],
    ["skip_verify = 1", "skip_verify"],
    ["host = 5", "host is no table"],
  ] as const) {
    expect(() => parseHostsFile(text, "/dir"), text).toThrow(what);
  }
});

test("the directory of a registry is found by name and port, or is the default", async () => {
  const root = directory({
    "a_5000_/hosts.toml": 'server = "https://one"',
    "b/hosts.toml": 'server = "https://two"',
    "_default/hosts.toml": 'server = "https://three"',
  });
  const host = async (name: string): Promise<string | undefined> =>
    (await hostsOf(name, { directory: root, defaultScheme: "" }))[0]?.host;
  expect(await host("a:5000")).toBe("one");
  expect(await host("b")).toBe("two");
  expect(await host("c:1")).toBe("three");
});

test("challenges are read as servers write them", () => {
  expect(parseChallenges('Bearer realm="https://a/token",service="b",scope="repository:x:pull,push"')).toEqual([
    {
      scheme: "bearer",
      parameters: new Map([
        ["realm", "https://a/token"],
        ["service", "b"],
        ["scope", "repository:x:pull,push"],
      ]),
    },
  ]);
  expect(parseChallenges('Basic realm="a \\"quoted\\" one", Bearer realm=b, error = "x"')).toEqual([
    { scheme: "basic", parameters: new Map([["realm", 'a "quoted" one']]) },
    {
      scheme: "bearer",
      parameters: new Map([
        ["realm", "b"],
        ["error", "x"],
      ]),
    },
  ]);
  for (const text of [
    "",
    ",,,",
    "=",
    '"',
    'Bearer realm="unended',
    "Bearer realm=",
    "\u0000",
    `Basic ${"a=b,".repeat(9000)}`,
  ]) {
    expect(Array.isArray(parseChallenges(text))).toBe(true);
  }
});

async function certificates(): Promise<string> {
  const root = directory({ ext: "subjectAltName=DNS:localhost,IP:127.0.0.1\n" });
  const openssl = async (...args: string[]): Promise<void> => {
    expect(await Bun.spawn(["openssl", ...args], { cwd: root, stdout: "ignore", stderr: "ignore" }).exited).toBe(0);
  };
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  await openssl("req", "-x509", ...key, "-keyout", "ca.key", "-out", "ca.crt", "-days", "2", "-subj", "/CN=authority");
  for (const name of ["server", "client"]) {
    await openssl("req", ...key, "-keyout", `${name}.key`, "-out", `${name}.csr`, "-subj", `/CN=${name}`);
    const by = ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "ext"];
    await openssl("x509", "-req", "-in", `${name}.csr`, ...by, "-days", "2", "-out", `${name}.crt`);
  }
  return root;
}

test.skipIf(Bun.which("openssl") === null)(
  "TLS: an authority of its own, a client's certificate, none, and no TLS at all",
  async () => {
    const files = await certificates();
    const read = (name: string): Promise<string> => Bun.file(join(files, name)).text();
    const tls = { cert: await read("server.crt"), key: await read("server.key") };
    const strict = { ...tls, ca: await read("ca.crt"), requestCert: true, rejectUnauthorized: true };
    const { signal } = new AbortController();
    const attempt = async (registry: FakeRegistry, toml: string | undefined): Promise<string> => {
      const root = toml === undefined ? "" : directory({ [`${registry.host.replace(":", "_")}_/hosts.toml`]: toml });
      const reference = `${registry.host}/a:1`;
      const opened = openRegistry({
        reference,
        headers: {},
        hostDirectory: root,
        defaultScheme: "",
        credentials: undefined,
      });
      return opened.resolve(signal).then(
        () => "resolved",
        (error: Error) => error.message,
      );
    };
    for (const [options, lines, wanted] of [
      [tls, [`ca = "${files}/ca.crt"`], /^resolved$/],
      [tls, [], /x509: certificate signed by unknown authority/],
      [tls, ["skip_verify = true"], /^resolved$/],
      [strict, [`ca = "${files}/ca.crt"`, `client = [["${files}/client.crt", "${files}/client.key"]]`], /^resolved$/],
      [strict, [`ca = "${files}/ca.crt"`], /failed to do request: Head .*: tls:/],
      [tls, [`ca = "${files}/none.crt"`], /cannot read .*none\.crt/],
      // On loopback nothing is verified, and a server without TLS is asked without.
      [tls, undefined, /^resolved$/],
      [undefined, undefined, /^resolved$/],
    ] as const) {
      const registry = new FakeRegistry(options ? { tls: options } : {});
      try {
        registry.manifest("a", "1", { hello: 1 });
        const server = `server = "https://${registry.host}"`;
        expect(await attempt(registry, lines && [server, ...lines].join("\n"))).toMatch(wanted);
      } finally {
        registry.stop();
      }
    }
  },
);

test.skipIf(Bun.which("openssl") === null)("TLS: a registry's own authority counts where it redirects to", async () => {
  const files = await certificates();
  const read = (name: string): Promise<string> => Bun.file(join(files, name)).text();
  const tls = { cert: await read("server.crt"), key: await read("server.key") };
  const [registry, storage] = [new FakeRegistry({ tls }), new FakeRegistry({ tls })];
  try {
    const manifest = storage.manifest("a", "1", { hello: 1 });
    registry.faults.push(({ path }) => Response.redirect(`${storage.url}${path}`, 307));
    for (const trust of [`ca = "${files}/ca.crt"`, "skip_verify = true"]) {
      const root = directory({
        [`${registry.host.replace(":", "_")}_/hosts.toml`]: `server = "${registry.url}"\n${trust}\n`,
      });
      const opened = openRegistry({
        reference: `${registry.host}/a:1`,
        headers: {},
        hostDirectory: root,
        defaultScheme: "",
        credentials: undefined,
      });
      expect(await opened.resolve(new AbortController().signal)).toEqual(manifest);
    }
  } finally {
    registry.stop();
    storage.stop();
  }
});
