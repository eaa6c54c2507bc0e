/** The status of a node as a person sees it: in a browser, in light and dark, on a phone; and as programs read it. */

import { afterAll, beforeAll, expect } from "bun:test";
import { existsSync, mkdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { Berthd, builtBerthd } from "../lib/berthd.ts";
import { Browser, type View, whyNoBrowser } from "../lib/browser.ts";
import { run } from "../lib/command.ts";
import { imageName } from "../lib/image.ts";
import { dist } from "../lib/paths.ts";
import { freePort } from "../lib/registry.ts";
import { processScope } from "../lib/scope.ts";
import { testUnless } from "../lib/skip.ts";
import { waitFor } from "../lib/wait.ts";

function whyNot(): string | undefined {
  if (process.getuid?.() !== 0) return "needs root";
  return existsSync(builtBerthd) ? undefined : "berthd is not built";
}

const token = "0123456789abcdef0123456789abcdef";
const hostile = '<img src=x onerror="window.hacked=1"><script>window.hacked=2</script>';
const { dir, token: scope } = processScope();
let daemon: Berthd;
let url = "";

beforeAll(async () => {
  if (whyNot() !== undefined) return;
  const config = join(dir, "status.toml");
  const port = await freePort();
  url = `http://127.0.0.1:${port}`;
  writeFileSync(
    config,
    `[status]\naddress = "127.0.0.1:${port}"\ntoken = "${token}"
[apps]
directory = "${join(dir, "apps")}"
namespace = "${scope}-st"
stable = "500ms"
`,
  );
  mkdirSync(join(dir, "apps"));
  daemon = new Berthd(join(dir, "status"), `${scope}-st`, { env: { BERTH_CONFIG: config } });
  await daemon.start();
  await daemon.importImage();
  const log = join(daemon.root, "logs", daemon.namespace, "web", "web.log");
  mkdirSync(dirname(log), { recursive: true });
  const lines = ["hello", hostile].map((text, index) => ({
    log: `${text}\n`,
    stream: index === 0 ? "stdout" : "stderr",
    time: "2026-01-02T03:04:05Z",
  }));
  writeFileSync(log, lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
  const health = JSON.stringify({ test: ["CMD", "sh", "-c", `echo '${hostile}'; exit 1`], interval: 500, retries: 1 });
  const labels = [
    "berth/stop-timeout=500",
    `berth/log=file://${log}?format=json`,
    `com.docker.compose.service=${hostile}`,
    "com.docker.compose.project=garden",
  ];
  await daemon.runDetached(
    "web",
    ["sleep", "1000"],
    ["--null-io", ...[...labels, `berth/health=${health}`].flatMap((label) => ["--label", label])],
  );
  const idle = `{ image: "${imageName}", network_mode: none, command: [sleep, "1000"], stop_grace_period: 500ms }`;
  writeFileSync(join(dir, "apps", "shop.yaml"), `services: { idle: ${idle} }\n`);
  await daemon.ctr(["images", "tag", imageName, `localhost/${hostile.replace(/[ ="]/g, "_")}:1`]);
}, 60_000);

afterAll(async () => {
  if (whyNot() !== undefined) return;
  rmSync(join(dir, "apps", "shop.yaml"));
  await waitFor(
    "the application to go",
    async () => (await daemon.ctr(["tasks", "ls"])).stdout.split("\n").length <= 3,
    {
      timeout: 20_000,
    },
  );
  await daemon.ctr(["tasks", "rm", "--force", "web"]);
  await daemon.ctr(["containers", "rm", "web"]);
  await daemon.stop();
  daemon.remove();
}, 30_000);

testUnless(
  whyNot() ?? whyNoBrowser(),
  "the page shows what runs, live, in light and dark and on a phone, without an error or a foreign request",
  async () => {
    const browser = await Browser.start(join(dir, "browser"));
    const views: Readonly<Record<string, View>> = {
      light: { width: 1280, height: 900, scheme: "light" },
      dark: { width: 1280, height: 900, scheme: "dark" },
      phone: { width: 390, height: 844, scheme: "light", isPhone: true },
    };
    const backgrounds: Record<string, string> = {};
    try {
      for (const [name, view] of Object.entries(views)) {
        await browser.open(`${url}/`, view);
        await browser.until(
          "the container",
          "[...document.querySelectorAll('#containers article h3')].some((h) => h.textContent === 'web')",
        );
        await browser.until("its health", "document.body.innerText.includes('unhealthy')");
        await browser.until("a plot", "document.querySelector('.cpu path')?.getAttribute('d')?.includes('L')");
        backgrounds[name] = await browser.evaluate("getComputedStyle(document.body).backgroundColor");
        await browser.evaluate(
          "[...document.querySelectorAll('button')].find((b) => b.textContent === 'Log' && b.closest('article').querySelector('h3').textContent === 'web').click()",
        );
        await browser.until("the log", "document.querySelector('pre')?.innerText.includes('onerror')");
        // Nothing is wider than the screen.
        expect(await browser.evaluate<number>("document.documentElement.scrollWidth - innerWidth")).toBeLessThanOrEqual(
          0,
        );
        const text = await browser.evaluate<string>("document.body.innerText");
        for (const part of [
          "hello",
          "garden",
          "shop",
          "images",
          "disk",
          "events",
          "task start",
          "2 of 2 running",
          hostile,
        ]) {
          expect(text.toLowerCase()).toContain(part.toLowerCase());
        }
        expect(
          await browser.evaluate("window.hacked === undefined && !document.querySelector('main img, main script')"),
        ).toBe(true);
        const png = await browser.screenshot(false);
        expect(png.length).toBeGreaterThan(10_000);
        const keep = process.env["BERTH_SCREENSHOTS"];
        if (keep) writeFileSync(join(keep, `status-${name}.png`), await browser.screenshot(true));
      }
      expect(backgrounds["light"]).not.toBe(backgrounds["dark"]);
      // With the token a person may restart; without it there is no button.
      const buttons =
        "[...document.querySelectorAll('#containers article:last-of-type button')].filter((b) => b.offsetParent).map((b) => b.textContent)";
      expect(await browser.evaluate<string[]>(buttons)).toEqual(["Log"]);
      await browser.evaluate(
        `document.getElementById("unlock").click(), document.getElementById("token").value = "${token}", document.querySelector("dialog form").requestSubmit()`,
      );
      await browser.until("the buttons", `${buttons}.join() === "Log,Restart,Stop"`);
      expect(browser.errors).toEqual([]);
      expect(browser.asked.filter((asked) => !asked.startsWith(url) && !asked.startsWith("data:"))).toEqual([]);
    } finally {
      await browser.stop();
    }
  },
  90_000,
);

testUnless(
  whyNot(),
  "GET /status tells a program of the node, containers, images, disk and events",
  async () => {
    const read = async () => (await (await fetch(`${url}/status?plots=1`)).json()) as Record<string, never>;
    const status = await waitFor("a measurement", async () => {
      const found = (await read()) as unknown as { containers: { usage?: { cpuPlot: number[] } }[] };
      return (
        found.containers.every(({ usage }) => (usage?.cpuPlot.length ?? 0) > 0) && (found as Record<string, unknown>)
      );
    });
    expect(status).toMatchObject({
      hasToken: true,
      node: { boots: 1, processors: expect.any(Number), clock: { isPlausible: true }, load: expect.any(Array) },
      berthd: { pid: daemon.pid },
    });
    const apps = await waitFor("the application", async () => {
      const { applications } = (await read()) as unknown as { applications: { state: string }[] };
      return applications[0]?.state === "running" && applications;
    });
    expect(apps).toEqual([
      expect.objectContaining({ name: "shop", revision: 1, goodRevision: 1, running: 1, containers: 1, error: "" }),
    ]);
    const web = (status["containers"] as { id: string }[]).find(({ id }) => id === "web");
    expect(web).toMatchObject({
      ...{ namespace: daemon.namespace, id: "web", image: imageName, status: "running", app: "garden", hasLog: true },
      ...{ restarts: 0, usage: { memory: expect.any(Number) } },
    });
    expect(status["images"]).toContainEqual(
      expect.objectContaining({ name: imageName, containers: 2, isPinned: false, size: expect.any(Number) }),
    );
    expect(status["disk"]).toMatchObject({ reserve: { isHeld: true }, volumes: [{ level: expect.any(String) }] });
    expect(status["events"]).toContainEqual(expect.objectContaining({ topic: "/tasks/start", subject: "web" }));
  },
  30_000,
);

testUnless(
  whyNot(),
  "every metric that the dashboard asks for is there to be scraped, and `berth system dashboard` prints it",
  async () => {
    const { stdout } = await run([join(dist, "berth"), "system", "dashboard"], { check: true });
    const { panels } = JSON.parse(stdout) as { panels: { targets?: { expr: string }[] }[] };
    const asked = new Set(
      panels
        .flatMap(({ targets = [] }) => targets.map(({ expr }) => expr))
        .flatMap((expr) =>
          [...expr.matchAll(/\b(?:berth|process|grpc_server|containerd)_[a-z0-9_]+/g)].map(([name]) => name),
        ),
    );
    expect(asked.size).toBeGreaterThan(50);
    const missing = await waitFor("all of them", async () => {
      const text = await (await fetch("http://berth/v1/metrics", { unix: join(daemon.state, "debug.sock") })).text();
      const there = new Set(text.split("\n").map((line) => line.split(/[{ ]/)[0] ?? ""));
      const left = [...asked].filter((name) => !there.has(name));
      if (left.length > 0) throw new Error(`missing: ${left.join(", ")}`);
      return "none";
    });
    expect(missing).toBe("none");
    const evict = await run([join(dist, "berth"), "-a", daemon.address, "system", "evict", "--dry-run"], {
      check: true,
    });
    expect(evict.stdout).toMatch(/free of .*, ok/);
  },
  30_000,
);

testUnless(
  whyNot(),
  "nobody changes anything without the token, nor by the name of another site",
  async () => {
    const restart = `${url}/containers/web/restart?namespace=${daemon.namespace}`;
    expect((await fetch(restart, { method: "POST" })).status).toBe(401);
    expect((await fetch(`${url}/status`, { headers: { host: "evil.example" } })).status).toBe(421);
    const wrong = { authorization: `Bearer ${token.replace("0", "1")}` };
    expect((await fetch(restart, { method: "POST", headers: wrong })).status).toBe(401);
    expect(await daemon.status("web")).toBe("RUNNING");

    const ask = async (path: string): Promise<[number, string]> => {
      const answer = await fetch(`${url}${path}`, { method: "POST", headers: { authorization: `Bearer ${token}` } });
      return [answer.status, await answer.text()];
    };
    const pidOf = async (): Promise<string> => (await daemon.ctr(["tasks", "ls"], { check: true })).stdout;
    const before = await pidOf();
    const space = `?namespace=${daemon.namespace}`;
    expect(await ask(`/containers/web/restart${space}`)).toEqual([200, "{}\n"]);
    expect(await daemon.status("web")).toBe("RUNNING");
    expect(await pidOf()).not.toBe(before);
    expect(await ask(`/containers/web/stop${space}`)).toEqual([200, "{}\n"]);
    expect(await daemon.status("web")).not.toBe("RUNNING");
    expect(await ask(`/containers/web/start${space}`)).toEqual([200, "{}\n"]);
    expect(await daemon.status("web")).toBe("RUNNING");
    expect((await ask(`/containers/nobody/stop${space}`))[0]).toBe(404);
    expect((await ask(`/containers/web/explode${space}`))[0]).toBe(400);
    expect((await ask("/apps/nothing/rollback"))[0]).toBe(404);
  },
  30_000,
);

testUnless(
  whyNot(),
  "without an address it is on a socket of the state; with one that others reach, and no token, berthd does not start",
  async () => {
    const place = join(dir, "plain");
    const made = new Berthd(place, `${scope}-pl`);
    await made.start();
    try {
      const socket = join(made.state, "status.sock");
      expect(statSync(socket).mode & 0o777).toBe(0o660);
      const answer = await fetch("http://berth/status", { unix: socket });
      expect(await answer.json()).toMatchObject({ hasToken: false, containers: [] });
      const post = await fetch("http://berth/containers/x/stop", { unix: socket, method: "POST" });
      expect([post.status, await post.text()]).toEqual([
        403,
        "read-only: set [status] token or token_file to change something here\n",
      ]);
    } finally {
      await made.stop();
      made.remove();
    }
    const config = join(dir, "open.toml");
    writeFileSync(config, '[status]\naddress = "0.0.0.0:0"\n');
    const refused = await run([
      builtBerthd,
      "--config",
      config,
      "--root",
      join(place, "r"),
      "--state",
      join(place, "s"),
    ]);
    expect(refused.exitCode).toBe(1);
    expect(refused.stderr).toContain("can be reached from other machines and needs a token");
  },
  30_000,
);
