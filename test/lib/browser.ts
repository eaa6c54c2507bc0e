/** A headless Chromium, driven by its own protocol over a WebSocket. */

import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Subprocess } from "bun";
import { waitFor } from "./wait.ts";

const program = Bun.which("chromium");

/** Why there is no browser here; undefined when there is one. */
export function whyNoBrowser(): string | undefined {
  return program === null ? "no chromium: install the package chromium" : undefined;
}

/** How a page is looked at. */
export interface View {
  readonly width: number;
  readonly height: number;
  readonly scheme: "light" | "dark";
  readonly isPhone?: boolean;
}

const flags = [
  ...["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage"],
  ...["--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions"],
  ...["--remote-debugging-port=0", "--remote-allow-origins=*", "about:blank"],
];

type Message = { id?: number; method?: string; params?: Record<string, unknown>; result?: unknown; error?: unknown };

/** One browser with one page. */
export class Browser {
  readonly #child: Subprocess;
  readonly #socket: WebSocket;
  readonly #calls = new Map<number, { resolve(value: unknown): void; reject(error: Error): void }>();
  /** What went wrong in pages: errors of scripts, of the console, and what a policy has blocked. */
  readonly errors: string[] = [];
  /** Addresses that pages have asked for. */
  readonly asked: string[] = [];
  #count = 0;

  private constructor(child: Subprocess, socket: WebSocket) {
    this.#child = child;
    this.#socket = socket;
    socket.onmessage = ({ data }) => this.#heard(JSON.parse(String(data)) as Message);
  }

  /** @param dir for its profile; made when missing */
  static async start(dir: string): Promise<Browser> {
    if (program === null) throw new Error("no chromium");
    mkdirSync(dir, { recursive: true });
    const env = { ...process.env, HOME: dir, XDG_CONFIG_HOME: dir, XDG_CACHE_HOME: dir, TMPDIR: dir };
    const child = Bun.spawn([program, `--user-data-dir=${dir}`, ...flags], {
      ...{ stdin: "ignore", stdout: "ignore", stderr: "ignore" },
      env,
    });
    const file = join(dir, "DevToolsActivePort");
    const port = await waitFor(
      "chromium to start",
      () => existsSync(file) && readFileSync(file, "utf8").split("\n")[0],
      { timeout: 60_000 },
    );
    const pages = await waitFor("a page", async () => {
      const answer = (await (await fetch(`http://127.0.0.1:${port}/json/list`)).json()) as {
        type: string;
        webSocketDebuggerUrl: string;
      }[];
      return answer.find(({ type }) => type === "page");
    });
    const socket = new WebSocket(pages.webSocketDebuggerUrl);
    await new Promise<void>((resolve, reject) => {
      socket.onopen = () => resolve();
      socket.onerror = () => reject(new Error("chromium does not answer"));
    });
    const browser = new Browser(child, socket);
    for (const domain of ["Page", "Runtime", "Log", "Network"]) await browser.call(`${domain}.enable`);
    return browser;
  }

  /** Calls a method of the protocol. */
  call(method: string, params: Readonly<Record<string, unknown>> = {}): Promise<unknown> {
    const id = ++this.#count;
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    this.#calls.set(id, { resolve, reject });
    this.#socket.send(JSON.stringify({ id, method, params }));
    return promise;
  }

  /** Opens an address, as it looks on some screen. */
  async open(url: string, view: View): Promise<void> {
    const { width, height, scheme, isPhone = false } = view;
    const metrics = { width, height, deviceScaleFactor: isPhone ? 2 : 1, mobile: isPhone };
    await this.call("Emulation.setDeviceMetricsOverride", metrics);
    await this.call("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value: scheme }] });
    await this.call("Page.navigate", { url });
  }

  /** The value of an expression in the page. */
  async evaluate<T>(expression: string): Promise<T> {
    const options = { expression, returnByValue: true, awaitPromise: true };
    const { result, exceptionDetails } = (await this.call("Runtime.evaluate", options)) as {
      result: { value: T };
      exceptionDetails?: { text: string };
    };
    if (exceptionDetails) throw new Error(`${expression}: ${exceptionDetails.text}`);
    return result.value;
  }

  /** Waits until an expression is true in the page. */
  async until(what: string, expression: string): Promise<void> {
    await waitFor(what, async () => this.evaluate<boolean>(`Boolean(${expression})`), { timeout: 30_000 });
  }

  /** The page as PNG. @param isWhole true: also what is below */
  async screenshot(isWhole: boolean): Promise<Buffer> {
    const options = { format: "png", captureBeyondViewport: isWhole };
    const { data } = (await this.call("Page.captureScreenshot", options)) as { data: string };
    return Buffer.from(data, "base64");
  }

  async stop(): Promise<void> {
    this.#socket.close();
    this.#child.kill();
    const late = setTimeout(() => this.#child.kill("SIGKILL"), 5000);
    await this.#child.exited;
    clearTimeout(late);
  }

  #heard({ id, method, params, result, error }: Message): void {
    if (id !== undefined) {
      const call = this.#calls.get(id);
      this.#calls.delete(id);
      if (error === undefined) call?.resolve(result);
      else call?.reject(new Error(JSON.stringify(error)));
      return;
    }
    if (method === "Runtime.exceptionThrown") this.errors.push(JSON.stringify(params?.["exceptionDetails"]));
    if (method === "Runtime.consoleAPICalled" && params?.["type"] === "error") this.errors.push(JSON.stringify(params));
    const entry = method === "Log.entryAdded" ? (params?.["entry"] as { level: string; text: string }) : undefined;
    if (entry?.level === "error") this.errors.push(entry.text);
    const request = method === "Network.requestWillBeSent" ? (params?.["request"] as { url: string }) : undefined;
    if (request !== undefined) this.asked.push(request.url);
    if (method === "Page.javascriptDialogOpening") this.errors.push("a dialog was opened");
  }
}
