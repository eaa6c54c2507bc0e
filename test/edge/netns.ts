/** A network of a test's own: what is started in it sees no other, and it goes with its last process. */

import { waitFor } from "../lib/wait.ts";

/** A network namespace, held by a process that does nothing. */
export class Network {
  readonly #holder: Bun.Subprocess;

  private constructor(holder: Bun.Subprocess) {
    this.#holder = holder;
  }

  /** Makes one, with the loopback interface up. @throws Error when the kernel refuses */
  static async open(): Promise<Network> {
    const script = "ip link set lo up && echo up && exec sleep infinity";
    const holder = Bun.spawn(["unshare", "--net", "--", "sh", "-c", script], {
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
    });
    const { value } = await holder.stdout.getReader().read();
    if (value === undefined) throw new Error(`no network namespace: ${await new Response(holder.stderr).text()}`);
    return new Network(holder);
  }

  /** The command line that runs another in this network. */
  within(argv: readonly string[]): string[] {
    return ["nsenter", `--net=/proc/${this.#holder.pid}/ns/net`, "--", ...argv];
  }

  async close(): Promise<void> {
    this.#holder.kill("SIGKILL");
    await waitFor("the network's holder to end", () => this.#holder.killed);
  }
}
