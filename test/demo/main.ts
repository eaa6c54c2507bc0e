/**
 * Shows berth at work: starts a private berthd in a temporary directory, gives it an image, runs a container through
 * berth's own shim, and tells what happened. Leaves nothing behind.
 *
 * Usage: npm start [-- --stay]
 */

import { join } from "node:path";
import { parseArgs } from "node:util";
import { Berthd } from "../lib/berthd.ts";
import { childrenOf, findShim, type ProcessInfo, readMemory, readProcess } from "../lib/process.ts";
import { closeScope, processScope } from "../lib/scope.ts";
import { DemoClient, type DemoEvent } from "./client.ts";
import { DemoError, prepare } from "./prepare.ts";
import { bold, dim, heading, megabytes, milliseconds, table } from "./print.ts";

const id = "hello";
const image = "localhost/berth-demo:latest";
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

function processRow(indent: string, name: string, p: ProcessInfo | undefined): string[] {
  if (!p) throw new DemoError(`The process of ${name} is not there.`);
  const command = p.argv.join(" ");
  return [`${indent}${name}`, String(p.pid), dim(command.length > 64 ? `${command.slice(0, 63)}…` : command)];
}

function eventRow({ topic, at, details }: DemoEvent, first: DemoEvent): string[] {
  const shown = Object.entries(details).map(([name, value]) => `${name} ${value}`);
  return [`+${milliseconds(Math.max(0, at - first.at))}`, topic, dim(shown.join(", "))];
}

function memoryRow(name: string, pid: number | undefined): string[] {
  const memory = readMemory(pid ?? 0);
  if (memory === undefined) return [name, "?", dim("this kernel does not tell")];
  return [name, megabytes(memory.private), dim(`resident ${megabytes(memory.rss)}, with shared pages`)];
}

/** Runs the container and prints what there is to see while it runs and after. */
async function show(daemon: Berthd, client: DemoClient): Promise<void> {
  const begun = performance.now();
  const task = await step("create the container: snapshot, bundle, shim, runc create", () =>
    client.create(id, image, ["sh", "-c", script], daemon.dir),
  );
  await step("start it, up to its first line", async () => {
    await client.start(id);
    await task.expect("Hello from a container.");
  });
  await task.expect(" ps\n");
  const shim = findShim(daemon.namespace, id);
  const processes = [
    processRow("", "berthd", readProcess(daemon.pid ?? 0)),
    processRow("└─ ", "the shim", shim),
    processRow("   └─ ", "the container", readProcess(task.pid)),
    ...childrenOf(task.pid).map((child) => processRow("      └─ ", "its child", child)),
  ];
  const memory = [memoryRow("berthd", daemon.pid), memoryRow("the shim", shim?.pid)];
  await step("run a command in it", async () => {
    const status = await client.exec(id, ["true"]);
    if (status !== 0) throw new Error(`it ended with ${status}`);
  });
  const output = await step("answer its question; it ends, and is removed", async () => {
    await task.answer("Thank you, and goodbye.");
    const status = await client.remove(id);
    if (status !== 0) throw new Error(`it ended with ${status}`);
    return await task.end();
  });
  const events = await client.until("/tasks/delete");

  console.log(output.trimEnd().replaceAll(/^/gm, "  │ "));
  heading("The processes, while it ran");
  table([["", "pid", "command"].map(dim), ...processes], [1]);
  console.log(dim("  the shim is no child of berthd's, which can stop, crash or be upgraded: no container notices"));
  heading("Memory of their own, while it ran");
  table(memory, [1]);
  heading("The events, as berthd gave them out");
  table(
    events.map((event) => eventRow(event, events[0] ?? event)),
    [0],
  );
  steps.push(["the container's whole life", performance.now() - begun]);
}

/** Says how to go on by hand. */
function goOn(address: string, namespace: string, snapshotter: string, stays: boolean): void {
  const lines = [
    `export CONTAINERD_ADDRESS=${address} CONTAINERD_NAMESPACE=${namespace} CONTAINERD_SNAPSHOTTER=${snapshotter}`,
    "ctr images ls",
    `ctr run --rm -t ${image} me sh`,
    "ctr events",
    "ctr images pull docker.io/library/alpine:latest",
  ];
  if (stays) {
    heading("berthd stays: talk to it from another terminal");
    for (const line of lines) console.log(`  ${line}`);
    if (Bun.which("ctr") === null) console.log(dim("  ctr is in the package containerd of Debian and Ubuntu"));
    console.log("\nCtrl-C ends it and removes everything.");
  } else {
    heading("To go on");
    console.log(`  npm start -- --stay          ${dim("the same, and then berthd stays for ctr, dockerd and you")}`);
    console.log(`  sudo dist/berth install --systemd   ${dim("berthd as a service of this machine: see README.md")}`);
  }
}

async function main(stays: boolean): Promise<void> {
  console.log(bold("berth: a container, through berthd, berth's shim and runc"));
  await step("find or install runc and busybox", () => prepare((line) => console.log(`  ${line}`)));
  const scope = processScope();
  const { promise: told, resolve: tell } = Promise.withResolvers<void>();
  let isWaiting = false;
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.on(signal, () => {
      if (isWaiting) {
        tell();
        return;
      }
      closeScope(scope);
      process.exit(1);
    });
  }
  try {
    const namespace = `${scope.token}-demo`;
    const daemon = new Berthd(join(scope.dir, "d"), namespace);
    await step("start a private berthd", () => daemon.start());
    const client = new DemoClient(daemon.address, namespace, daemon.snapshotter);
    await step("subscribe to its events", () => client.watch());
    const bytes = await step("make an image of busybox, store and unpack it", () => client.loadImage(image));
    console.log(`  ${dim(`berthd ${await client.version()} at ${daemon.address}; ${image}, ${megabytes(bytes)}`)}`);
    heading("The container");
    await show(daemon, client);
    if (stays) {
      goOn(daemon.address, namespace, daemon.snapshotter, true);
      isWaiting = true;
      await told;
    }
    await step("stop berthd and remove everything", async () => {
      client.close();
      await daemon.stop();
      closeScope(scope);
    });
    if (stays) return;
    heading("The time each step took");
    table(
      steps.map(([name, ms]) => [name, milliseconds(ms)]),
      [1],
    );
    goOn(daemon.address, namespace, daemon.snapshotter, false);
  } finally {
    closeScope(scope);
  }
}

try {
  const { values } = parseArgs({ options: { stay: { type: "boolean", default: false } } });
  await main(values.stay);
} catch (error) {
  if (!(error instanceof DemoError) && (error as NodeJS.ErrnoException).code !== "ERR_PARSE_ARGS_UNKNOWN_OPTION")
    throw error;
  console.error((error as Error).message);
  process.exit(1);
}
// The guard's pipe would keep us alive.
process.exit(0);
