/** `ctr tasks attach`: a client that comes later, or comes back after containerd was away. */

import { expect } from "bun:test";
import type { Daemon } from "../lib/daemon.ts";
import { isAlive } from "../lib/process.ts";
import { containerSuite, type TestContext } from "../lib/suite.ts";
import { waitFor } from "../lib/wait.ts";

const suite = containerSuite();

/** A running `ctr tasks attach`. */
class Attached {
  output = "";
  readonly #child: Bun.Subprocess<"ignore", "pipe", "pipe">;
  readonly #reading: Promise<void>;

  constructor(daemon: Daemon, id: string) {
    this.#child = Bun.spawn(daemon.ctrCommand(["tasks", "attach", id]), {
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
      env: daemon.ctrEnv(),
    });
    this.#reading = this.#read();
  }

  async #read(): Promise<void> {
    const decoder = new TextDecoder();
    for await (const chunk of this.#child.stdout) this.output += decoder.decode(chunk, { stream: true });
  }

  /** Waits until the text was read. */
  async sees(text: string): Promise<void> {
    await waitFor(`${JSON.stringify(text)} from ctr tasks attach`, () => this.output.includes(text));
  }

  /** Waits for the client's own end and answers its exit code. */
  async end(): Promise<number> {
    const code = await this.#child.exited;
    await this.#reading;
    return code;
  }

  /** SIGKILL, and waits. */
  async kill(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.end();
  }
}

/** Starts a container that prints until it gets SIGTERM, and whose client is gone. */
async function startTicking({ daemon }: TestContext, id: string): Promise<void> {
  const script = "trap 'echo last word; exit 6' TERM; while :; do echo tick; usleep 20000; done";
  await daemon.runDetached(id, ["sh", "-c", script], []);
}

suite.test("IO-2 attach hears a container whose first client is gone, to its last word", async (context) => {
  const { daemon, tasks } = context;
  const c = context.id();
  await startTicking(context, c);
  const { pid } = await tasks.get(c);
  // Nobody reads for so long that a pipe would not hold it all if the container printed more.
  await Bun.sleep(300);
  const first = new Attached(daemon, c);
  await first.sees("tick\n");
  await first.kill();
  await Bun.sleep(300);
  expect(isAlive(pid)).toBe(true);
  const second = new Attached(daemon, c);
  await second.sees("tick\n");
  await tasks.kill(c, 15);
  expect(await second.end()).toBe(6);
  expect(second.output).toEndWith("tick\nlast word\n");
  await tasks.removeContainer(c);
});

suite.test(
  "RS-2 attach after SIGKILL to containerd and its return",
  async (context) => {
    const { daemon, tasks, events } = context;
    const c = context.id();
    await startTicking(context, c);
    const { pid } = await tasks.get(c);
    await events.stop();
    await daemon.kill();
    await Bun.sleep(300);
    await daemon.start();
    await events.start();
    expect(await tasks.get(c)).toMatchObject({ pid, status: "RUNNING" });
    const client = new Attached(daemon, c);
    await client.sees("tick\n");
    await tasks.kill(c, 15);
    expect(await client.end()).toBe(6);
    expect(client.output).toEndWith("tick\nlast word\n");
    await tasks.removeContainer(c);
  },
  { timeout: 60_000 },
);
