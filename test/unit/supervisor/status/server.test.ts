/** The status over HTTP: what is answered, what is refused, and what it costs when nobody looks. */

import { afterEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { notFound } from "../../../../proto/errdefs.ts";
import { Access } from "../../../../supervisor/status/access.ts";
import { countBoots } from "../../../../supervisor/status/boots.ts";
import { logTail } from "../../../../supervisor/status/log-tail.ts";
import { StatusServer } from "../../../../supervisor/status/server.ts";
import { waitFor } from "../../../lib/wait.ts";

const token = "0123456789abcdef0123456789abcdef";
const open: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close();
});

async function serve(config: Partial<ConstructorParameters<typeof Access>[0]> = {}) {
  const asked: string[] = [];
  const sources = {
    status: async (plots: boolean) => {
      asked.push(`status ${plots}`);
      return '{"a":1}';
    },
    log: async (namespace: string, id: string, lines: number) => JSON.stringify({ namespace, id, lines }),
    container: async (namespace: string, id: string, verb: string) => {
      if (id === "none") throw notFound("container none: not found");
      asked.push(`${verb} ${namespace}/${id}`);
    },
    application: async (name: string, verb: string) => void asked.push(`${verb} ${name}`),
  };
  const address = "127.0.0.1:0";
  const server = new StatusServer(sources, new Access({ address, token, tokenFile: "", names: "", ...config }));
  open.push(() => server.stop());
  await server.listen(config.address ?? address, { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 });
  const get = (path: string, init?: RequestInit): Promise<Response> =>
    fetch(`http://127.0.0.1:${server.port}${path}`, init);
  return { server, asked, get };
}

const bearer = { authorization: `Bearer ${token}` };

test("the page is one answer, whose policy lets nothing in but its own style and script", async () => {
  const { get } = await serve();
  const answer = await get("/");
  const html = await answer.text();
  expect(html.length).toBeLessThan(60_000);
  expect(html).not.toMatch(/(?:src|href)="(?!data:|\/status")/);
  expect(html).not.toMatch(/innerHTML|insertAdjacentHTML|document\.write|eval\(/);
  const policy = answer.headers.get("content-security-policy") ?? "";
  expect(policy).toContain("default-src 'none'");
  expect(policy).not.toContain("unsafe");
  for (const element of ["style", "script"]) {
    const [, body = ""] = new RegExp(`<${element}>(.*?)</${element}>`, "s").exec(html) ?? [];
    const hash = new Bun.CryptoHasher("sha256").update(body).digest("base64");
    expect(policy).toContain(`${element}-src 'sha256-${hash}'`);
  }
  expect(html).not.toMatch(/\sstyle="|\son\w+="/);
});

test("every answer says not to be kept, guessed, framed or taken by others", async () => {
  const { get } = await serve();
  for (const [path, init] of [["/"], ["/status"], ["/nothing"], ["/status", { method: "DELETE" }]] as const) {
    const { headers } = await get(path, init);
    expect(headers.get("cache-control")).toBe("no-store");
    expect(headers.get("x-content-type-options")).toBe("nosniff");
    expect(headers.get("x-frame-options")).toBe("DENY");
    expect(headers.get("access-control-allow-origin")).toBeNull();
  }
});

test("GET reads, POST changes and needs the token, and anything else is refused", async () => {
  const { get, asked } = await serve();
  expect(await (await get("/status")).json()).toEqual({ a: 1 });
  expect(await (await get("/status?plots=1")).json()).toEqual({ a: 1 });
  expect(await (await get("/containers/a%2Fb/log?lines=99999&namespace=n")).json()).toEqual({
    ...{ namespace: "n", id: "a/b", lines: 1000 },
  });
  expect((await get("/containers/web/restart")).status).toBe(404);
  expect((await get("/status", { method: "PUT" })).status).toBe(405);
  expect((await get("/containers/web/restart", { method: "POST" })).status).toBe(401);
  expect((await get("/containers/web/restart", { method: "POST", headers: bearer })).status).toBe(200);
  expect((await get("/apps/shop/rollback", { method: "POST", headers: bearer })).status).toBe(200);
  expect((await get("/elsewhere", { method: "POST", headers: bearer })).status).toBe(404);
  const missing = await get("/containers/none/stop", { method: "POST", headers: bearer });
  expect([missing.status, await missing.text()]).toEqual([404, "container none: not found\n"]);
  expect(asked).toEqual(["status false", "status true", "restart default/web", "rollback shop"]);
  const long = await get("/containers/web/stop", { method: "POST", headers: bearer, body: "x".repeat(100_000) });
  expect(long.status).toBe(413);
});

test("who looks is told at once and again, with the plots first; who leaves costs nothing", async () => {
  const { server, asked, get } = await serve();
  const leave = new AbortController();
  const answer = await get("/status/live", { signal: leave.signal });
  expect(answer.headers.get("content-type")).toContain("text/event-stream");
  const reader = (answer.body as ReadableStream<Uint8Array>).getReader();
  const read = async (): Promise<string> => new TextDecoder().decode((await reader.read()).value);
  expect(await read()).toBe('retry: 3000\ndata: {"a":1}\n\n');
  expect(server.watchers).toBe(1);
  expect(await read()).toBe('data: {"a":1}\n\n');
  leave.abort();
  await waitFor("the watcher to go", () => server.watchers === 0);
  const before = asked.length;
  await Bun.sleep(2500);
  expect(asked.length).toBeLessThanOrEqual(before + 1);
  expect(asked.slice(0, 2)).toEqual(["status true", "status false"]);
});

test("more than some who look are refused", async () => {
  const { server, get } = await serve();
  const leave = new AbortController();
  const answers = await Promise.all(Array.from({ length: 20 }, () => get("/status/live", { signal: leave.signal })));
  const codes = answers.map(({ status }) => status).sort();
  expect(codes.filter((code) => code === 200)).toHaveLength(16);
  expect(codes.filter((code) => code === 503)).toHaveLength(4);
  leave.abort();
  await waitFor("the watchers to go", () => server.watchers === 0);
});

test("a unix socket is for its group alone", async () => {
  const dir = mkdtempSync(join(tmpdir(), "berth-status-"));
  open.push(() => rmSync(dir, { recursive: true }));
  const address = join(dir, "status.sock");
  await serve({ address });
  expect(statSync(address).mode & 0o777).toBe(0o660);
  const answer = await fetch("http://berth/status", { unix: address });
  expect(await answer.json()).toEqual({ a: 1 });
});

test("boots are counted once each, and a damaged count begins anew", () => {
  const dir = mkdtempSync(join(tmpdir(), "berth-boots-"));
  open.push(() => rmSync(dir, { recursive: true }));
  expect(["a", "a", "b", "b", "c"].map((boot) => countBoots(dir, boot))).toEqual([1, 1, 2, 2, 3]);
  writeFileSync(join(dir, "boots.json"), '{"boot":"c","count":"many"}');
  expect(countBoots(dir, "c")).toBe(1);
});

test("the end of a log, in each format that shims write", async () => {
  const dir = mkdtempSync(join(tmpdir(), "berth-log-"));
  open.push(() => rmSync(dir, { recursive: true }));
  const path = join(dir, "a b.log");
  const tail = (format: string, text: string, count = 10) => {
    writeFileSync(path, text);
    return logTail(`file://${path.replace(" ", "%20")}${format}`, count);
  };
  const time = "2026-01-01T00:00:00Z";
  expect(await tail("?format=json", `{"log":"a\\n","stream":"stderr","time":"${time}"}\n{"half`)).toEqual([
    { time, stream: "stderr", text: "a" },
    { time: "", stream: "", text: '{"half' },
  ]);
  expect(await tail("?format=cri&max-size=5", `${time} stdout F hello world\n`)).toEqual([
    { time, stream: "stdout", text: "hello world" },
  ]);
  expect((await tail("", "1\n2\n3\n", 2)).map(({ text }) => text)).toEqual(["2", "3"]);
  const many = await tail("", Array.from({ length: 50_000 }, (_, line) => `line ${line}\n`).join(""), 1000);
  expect([many.length, many.at(-1)?.text, many[0]?.text]).toEqual([1000, "line 49999", "line 49000"]);
  expect(await logTail(`file://${dir}/none.log`, 5)).toEqual([]);
});
