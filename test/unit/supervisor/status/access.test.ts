/** Who may see the status, and who may change something. */

import { afterEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { loadConfig, withoutSecrets } from "../../../../supervisor/config.ts";
import { Access, type StatusConfig } from "../../../../supervisor/status/access.ts";

const token = "0123456789abcdef0123456789abcdef";
const plain: StatusConfig = { address: "", token: "", tokenFile: "", names: "" };

const made: string[] = [];
afterEach(() => {
  for (const path of made.splice(0)) rmSync(path, { recursive: true });
});

function request(headers: Readonly<Record<string, string>> = {}): Request {
  return new Request("http://x/status", { headers: { host: "127.0.0.1:8099", ...headers } });
}

function status(
  config: Partial<StatusConfig>,
  purpose: "read" | "write",
  headers: Readonly<Record<string, string>> = {},
) {
  return new Access({ ...plain, ...config }).refusal(request(headers), purpose)?.status;
}

test("reading needs no token on a unix socket and on loopback, and one anywhere else", () => {
  expect(status({}, "read")).toBeUndefined();
  for (const address of ["/run/x.sock", "127.0.0.1:1", "127.8.9.1:1", "localhost:1", "[::1]:1"]) {
    expect(status({ address }, "read")).toBeUndefined();
  }
  for (const address of ["0.0.0.0:1", ":1", "[::]:1", "10.0.0.1:1", "127.0.0.1.evil.example:1"]) {
    expect(() => new Access({ ...plain, address })).toThrow("can be reached from other machines and needs a token");
    expect(status({ address, token }, "read")).toBe(401);
    expect(status({ address, token }, "read", { authorization: `Bearer ${token}` })).toBeUndefined();
    expect(status({ address, token }, "read", { authorization: `Basic ${btoa(`x:${token}`)}` })).toBeUndefined();
    expect(status({ address, token }, "read", { authorization: `Bearer ${token}x` })).toBe(401);
    expect(status({ address, token }, "read", { authorization: `Basic ${btoa(token)}` })).toBeUndefined();
  }
});

test("changing needs the token always, and not what a browser sends by itself", () => {
  expect(status({}, "write")).toBe(403);
  expect(status({}, "write", { authorization: "Bearer " })).toBe(403);
  expect(status({ token }, "write")).toBe(401);
  expect(status({ token }, "write", { authorization: `Basic ${btoa(`x:${token}`)}` })).toBe(401);
  expect(status({ token }, "write", { authorization: `Bearer ${token}` })).toBeUndefined();
  expect(status({ token }, "write", { authorization: `bearer ${token}` })).toBeUndefined();
  const crossing = { authorization: `Bearer ${token}`, "sec-fetch-site": "cross-site" };
  expect(status({ token }, "write", crossing)).toBe(403);
});

test("a host name that is not ours is refused on TCP: it may have been made to point here", () => {
  const address = "127.0.0.1:8099";
  for (const host of ["evil.example", "evil.example:8099", "localhost.evil.example", "127.0.0.1.evil.example", ""]) {
    expect(status({ address }, "read", { host })).toBe(421);
    expect(status({ address, token }, "write", { host, authorization: `Bearer ${token}` })).toBe(421);
  }
  for (const host of ["127.0.0.1:8099", "[::1]:8099", "localhost", "LOCALHOST.:8099", "192.168.1.7:1", hostname()]) {
    expect(status({ address }, "read", { host })).toBeUndefined();
  }
  expect(status({ address, names: "edge7.lan, edge7" }, "read", { host: "edge7.lan:8099" })).toBeUndefined();
  expect(status({}, "read", { host: "evil.example" })).toBeUndefined();
});

test("a token that is short, or has spaces, is none; a file may have it", () => {
  const dir = mkdtempSync(join(tmpdir(), "berth-token-"));
  made.push(dir);
  for (const wrong of ["short", "with spaces in the middle of it", "ümlautümlautümlaut"]) {
    expect(() => new Access({ ...plain, token: wrong })).toThrow("at least 16 characters");
  }
  const tokenFile = join(dir, "token");
  expect(() => new Access({ ...plain, tokenFile })).toThrow("token_file: ENOENT");
  writeFileSync(tokenFile, "\n");
  expect(() => new Access({ ...plain, tokenFile })).toThrow("at least 16 characters");
  writeFileSync(tokenFile, `${token}\n`);
  expect(() => new Access({ ...plain, token, tokenFile })).toThrow("only one of them");
  expect(status({ tokenFile }, "write", { authorization: `Bearer ${token}` })).toBeUndefined();
});

test("a configuration that would let anybody in is no configuration, and one with a token is shown without it", () => {
  const dir = mkdtempSync(join(tmpdir(), "berth-token-"));
  made.push(dir);
  const file = join(dir, "config.toml");
  writeFileSync(file, '[status]\naddress = "0.0.0.0:80"\n');
  expect(() => loadConfig({ config: file }, {})).toThrow("needs a token: set [status] token or token_file");
  writeFileSync(file, `[status]\naddress = "0.0.0.0:80"\ntoken = "${token}"\n`);
  const config = loadConfig({ config: file }, {});
  expect(config.status.token).toBe(token);
  expect(JSON.stringify(withoutSecrets(config))).not.toContain(token);
});
