/**
 * Shows berth at work: starts a private containerd in a temporary directory, runs a container through
 * `io.containerd.berth.v2`, and tells what happened. Leaves nothing behind.
 *
 * Usage: npm start
 */

import { join } from "node:path";
import { Daemon } from "../lib/daemon.ts";
import { type ContainerdEvent, EventCollector } from "../lib/events.ts";
import { runtime } from "../lib/paths.ts";
import { findShim, type ProcessInfo, readMemory, readProcess } from "../lib/process.ts";
import { closeScope, processScope } from "../lib/scope.ts";
import { Tasks } from "../lib/tasks.ts";
import { waitFor } from "../lib/wait.ts";
import { DemoError, prepare } from "./prepare.ts";
import { bold, dim, heading, megabytes, milliseconds, table } from "./print.ts";

const id = "hello";
const script = 'echo "Hello from a container. I am process $$ of:"; ps -o pid,comm; read line; echo "$line"';

/** Names and times of the steps, in order. */
const steps: [string, number][] = [];

/** Does a step, notes its time, and names it in the error when it fails. */
async function step<T>(name: string, body: () => Promise<T>): Promise<T> {
  const begun = performance.now();
  try {
    const value = await body();
    steps.push([name, performance.now() - begun]);
    return value;
  } catch (error) {
    if (error instanceof DemoError) throw error;
    const text = error instanceof Error ? error.message : String(error);
    throw new DemoError(`Failed to ${name}: ${text}`);
  }
}

/** The container while it runs, as `ctr run` started it. */
class Client {
  readonly #child: Bun.Subprocess<"pipe", "pipe", "pipe">;
  #output = "";
  readonly #reading: Promise<string>;

  constructor(argv: string[], env: Record<string, string | undefined>) {
    this.#child = Bun.spawn(argv, { stdin: "pipe", stdout: "pipe", stderr: "pipe", env });
    this.#reading = this.#read();
  }

  get pid(): number {
    return this.#child.pid;
  }

  async #read(): Promise<string> {
    const errors = new Response(this.#child.stderr).text();
    for await (const chunk of this.#child.stdout) this.#output += new TextDecoder().decode(chunk);
    return await errors;
  }

  /** Waits for a text in the output. */
  async expect(text: string): Promise<void> {
    await waitFor(`the container to print ${JSON.stringify(text)}`, async () => {
      if (this.#child.exitCode !== null) throw new Error((await this.#reading).trim() || "ctr ended early");
      return this.#output.includes(text);
    });
  }

  /** Gives the container a line of input. */
  async answer(line: string): Promise<void> {
    this.#child.stdin.write(`${line}\n`);
    await this.#child.stdin.flush();
  }

  /** Waits for the end and answers all output. @throws Error when ctr failed */
  async finish(): Promise<string> {
    const errors = await this.#reading;
    const code = await this.#child.exited;
    await this.#child.stdin.end();
    if (code !== 0) throw new Error(`ctr run ended with ${code}: ${errors.trim()}`);
    return this.#output;
  }
}

function processRow(indent: string, name: string, p: ProcessInfo | undefined): string[] {
  if (!p) throw new DemoError(`The process of ${name} is not there.`);
  const command = p.argv.join(" ");
  return [`${indent}${name}`, String(p.pid), dim(command.length > 64 ? `${command.slice(0, 63)}…` : command)];
}

/** Milliseconds of an event's own time, to compare with another's. */
function timeOf(event: ContainerdEvent): number {
  const [day, clock = ""] = event.timestamp.split(" ");
  const [seconds, fraction = "0"] = clock.split(".");
  return Date.parse(`${day}T${seconds}Z`) + Number(`0.${fraction}`) * 1000;
}

function eventRow(event: ContainerdEvent, first: ContainerdEvent): string[] {
  const body = event.topic === "/tasks/exit" ? { exit_status: 0, ...event.body } : event.body;
  const details = Object.entries(body)
    .filter(([name]) => ["id", "exec_id", "pid", "exit_status"].includes(name))
    .map(([name, value]) => `${name} ${value}`)
    .sort();
  return [`+${milliseconds(timeOf(event) - timeOf(first))}`, event.topic, dim(details.join(", "))];
}

/** Runs the container and prints what there is to see while it runs and after. */
async function show(daemon: Daemon, events: EventCollector): Promise<void> {
  const tasks = new Tasks(daemon);
  const argv = daemon.ctrCommand(daemon.runArguments(id, ["sh", "-c", script], ["--rm"]));
  console.log(dim(`  $ ctr run --rm --runtime ${runtime} IMAGE ${id} sh -c '…'`));
  const begun = performance.now();
  const client = new Client(argv, daemon.ctrEnv());
  await step("start the container, up to its first line", () => client.expect("Hello from a container."));
  await client.expect(" ps\n");
  const { pid } = await tasks.get(id);
  const shim = findShim(daemon.namespace, id);
  const processes = [
    processRow("", "ctr, the client", readProcess(client.pid)),
    processRow("", "containerd", readProcess(daemon.pid ?? 0)),
    processRow("└─ ", "the shim", shim),
    processRow("   └─ ", "the container", readProcess(pid)),
  ];
  const memory = readMemory(shim?.pid ?? 0);
  await step("run a command in it (ctr tasks exec … true)", async () => {
    const result = await daemon.exec(id, ["true"]);
    if (result.exitCode !== 0) throw new Error(result.stderr.trim());
  });
  const output = await step("answer its question, stop, delete", async () => {
    await client.answer("Thank you, and goodbye.");
    const text = await client.finish();
    await events.wait(id, "delete");
    return text;
  });

  console.log(output.trimEnd().replaceAll(/^/gm, "  │ "));
  heading("The processes, while it ran");
  table([["", "pid", "command"].map(dim), ...processes], [1]);
  heading("The shim's memory, while it ran");
  if (memory) {
    table(
      [
        ["written", megabytes(memory.written), dim("pages of its own that it has written: what one more shim costs")],
        ["private", megabytes(memory.private), dim("with pages of the executable that no other process maps just now")],
        ["PSS", megabytes(memory.pss), dim("with its share of pages that others map too")],
      ],
      [1],
    );
  } else {
    console.log("  this kernel has no /proc/PID/smaps_rollup");
  }
  heading("The events, as containerd gave them out");
  const seen = events.of(id);
  table(
    seen.map((event) => eventRow(event, seen[0] ?? event)),
    [0],
  );
  steps.push(["the container's whole life, as ctr saw it", performance.now() - begun]);
}

async function main(): Promise<void> {
  console.log(bold("berth: a container, through real containerd and runc"));
  await step("find or install containerd, runc and busybox", () => prepare((line) => console.log(`  ${line}`)));
  const scope = processScope();
  const daemon = new Daemon(join(scope.dir, "d"), `${scope.token}-demo`);
  const events = new EventCollector(daemon);
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.on(signal, () => {
      closeScope(scope);
      process.exit(1);
    });
  }
  try {
    await step("start a private containerd", () => daemon.start());
    await step("make an image of busybox and import it", () => daemon.importImage());
    await events.start();
    heading("The container");
    await show(daemon, events);
    await step("stop containerd and remove everything", async () => {
      await events.stop();
      await daemon.stop();
      closeScope(scope);
    });
    heading("The time each step took");
    table(
      steps.map(([name, ms]) => [name, milliseconds(ms)]),
      [1],
    );
  } finally {
    closeScope(scope);
  }
}

try {
  await main();
} catch (error) {
  if (!(error instanceof DemoError)) throw error;
  console.error(error.message);
  process.exit(1);
}
// The guard's pipe would keep us alive.
process.exit(0);
