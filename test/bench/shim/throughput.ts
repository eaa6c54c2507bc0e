/** How many bytes per second a container gets out, with a reader that does nothing but read. */

import { closeSync, constants, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import { drainBytes, HeldFifo, makeFifo } from "./fifo.ts";
import { type Bench, freshId, inPairs, seconds } from "./measure.ts";
import type { Runtime } from "./rig.ts";
import { Shim } from "./shim.ts";

const block = 1024 * 1024;

/** A command that waits for a line on stdin, so that starting is not counted, and then writes. */
function writer(bytes: number): string[] {
  return ["sh", "-c", `read line; exec dd if=/dev/zero bs=${block} count=${bytes / block} 2>/dev/null`];
}

/** stdout of the container and of an exec through a FIFO, of an exec on a terminal, and of `ctr run`. */
export async function measureThroughput(bench: Bench): Promise<void> {
  const { scale } = bench;
  await inPairs(bench, scale.throughputPairs, (runtime, record) => ofInit(bench, runtime, record));
  await inPairs(bench, scale.throughputPairs, (runtime, record) => ofExec(bench, runtime, record));
  await inPairs(bench, scale.throughputPairs, (runtime, record) => ofTerminal(bench, runtime, record));
  await inPairs(bench, scale.throughputPairs, (runtime, record) => ofCtr(bench, runtime, record));
}

/** FIFOs for a process: the bench writes to stdin, and another program reads stdout. */
class Pipes {
  readonly stdin: string;
  readonly stdout: string;
  /** Nothing is written there, but containerd's shim of 1.6 takes no stdout without a stderr. */
  readonly stderr: string;
  readonly #fd: number;
  readonly #held: HeldFifo;

  constructor(dir: string, name: string) {
    this.stdin = join(dir, `${name}-in`);
    this.stdout = join(dir, `${name}-out`);
    this.stderr = join(dir, `${name}-err`);
    makeFifo(this.stdin);
    makeFifo(this.stdout);
    this.#held = new HeldFifo(this.stderr);
    this.#fd = openSync(this.stdin, constants.O_RDWR | constants.O_NONBLOCK);
  }

  /** Lets the writer go once it waits; bytes per second until the reader has them all. @throws Error when some are lost */
  async rate(runtime: Runtime, bytes: number, begin: () => Promise<void>): Promise<number> {
    const reader = drainBytes(this.stdout, bytes);
    await begin();
    await Bun.sleep(50);
    const taken = await seconds(async () => {
      writeSync(this.#fd, "go\n");
      expectBytes(runtime, await reader, bytes);
    });
    return bytes / taken;
  }

  close(): void {
    closeSync(this.#fd);
    this.#held.close();
  }
}

function expectBytes(runtime: Runtime, got: number, bytes: number): void {
  if (got !== bytes) {
    throw new Error(`${runtime.name}: ${got} of ${bytes} bytes arrived`);
  }
}

async function ofInit(bench: Bench, runtime: Runtime, record: boolean): Promise<void> {
  const { rig, samples, scale } = bench;
  const shim = new Shim(rig, runtime, freshId(runtime), writer(scale.throughputBytes));
  const pipes = new Pipes(shim.bundle, "init");
  await shim.start();
  const rate = await pipes.rate(runtime, scale.throughputBytes, async () => {
    await shim.create({ stdin: pipes.stdin, stdout: pipes.stdout, stderr: pipes.stderr });
    await shim.startProcess();
  });
  await shim.wait();
  await shim.deleteProcess();
  await shim.shutdown();
  await shim.delete();
  pipes.close();
  shim.remove();
  if (record) {
    samples.add("stdout", runtime.name, rate);
  }
}

async function ofExec(bench: Bench, runtime: Runtime, record: boolean): Promise<void> {
  const { rig, samples, scale } = bench;
  const shim = new Shim(rig, runtime, freshId(runtime), ["sleep", "1000"]);
  await shim.launch();
  const pipes = new Pipes(shim.bundle, "exec");
  const rate = await pipes.rate(runtime, scale.throughputBytes, async () => {
    const stdio = { stdin: pipes.stdin, stdout: pipes.stdout, stderr: pipes.stderr };
    await shim.exec("exec", writer(scale.throughputBytes), stdio);
    await shim.startProcess("exec");
  });
  await shim.wait("exec");
  await shim.deleteProcess("exec");
  pipes.close();
  await shim.end();
  if (record) {
    samples.add("stdout-exec", runtime.name, rate);
  }
}

/** On a terminal stdin would be echoed, so the writer starts at once; starting it is counted. */
async function ofTerminal(bench: Bench, runtime: Runtime, record: boolean): Promise<void> {
  const { rig, samples, scale } = bench;
  const shim = new Shim(rig, runtime, freshId(runtime), ["sleep", "1000"]);
  await shim.launch();
  const stdout = join(shim.bundle, "terminal");
  makeFifo(stdout);
  const command = ["dd", "if=/dev/zero", `bs=${block}`, `count=${scale.ttyBytes / block}`];
  await shim.exec("exec", command, { stdout, terminal: true });
  const reader = drainBytes(stdout, scale.ttyBytes);
  const taken = await seconds(async () => {
    await shim.startProcess("exec");
    expectBytes(runtime, await reader, scale.ttyBytes);
  });
  await shim.kill("exec").catch(() => undefined);
  await shim.wait("exec");
  await shim.deleteProcess("exec");
  await shim.end();
  if (record) {
    samples.add("stdout-tty", runtime.name, scale.ttyBytes / taken);
  }
}

async function ofCtr(bench: Bench, runtime: Runtime, record: boolean): Promise<void> {
  const { rig, samples, scale } = bench;
  const id = freshId(runtime);
  rig.register(id);
  const flags = [...rig.containerFlags(runtime), "--rm", "--fifo-dir", rig.daemon.fifoDir];
  const count = scale.throughputBytes / block;
  const dd = ["dd", "if=/dev/zero", `bs=${block}`, `count=${count}`];
  const ctr = rig.daemon.ctrCommand(["run", ...flags, rig.image, id, ...dd]);
  const quoted = ctr.map((word) => `'${word}'`).join(" ");
  const script = `${quoted} 2>/dev/null | LC_ALL=C dd of=/dev/null bs=1M iflag=fullblock 2>&1`;
  const outcome = await rig.time(["sh", "-c", script]);
  expectBytes(runtime, Number(/^(\d+) bytes/m.exec(outcome.stdout)?.[1] ?? 0), scale.throughputBytes);
  if (record) {
    samples.add("stdout-ctr", runtime.name, scale.throughputBytes / outcome.seconds);
  }
}
