/** `berth load` and `save`: images from and to archives. */

import { once } from "node:events";
import { createReadStream, createWriteStream, renameSync, rmSync, statSync } from "node:fs";
import type { Writable } from "node:stream";
import { messageOf } from "../../../proto/errdefs.ts";
import { findImage } from "../../client/images.ts";
import { exportArchive, importArchive, type TransferStep } from "../../client/transfer.ts";
import { hostPlatform } from "../../image/platform.ts";
import type { Connection } from "../connect.ts";
import { shown } from "../output/escape.ts";
import { interruptible } from "../output/interrupt.ts";
import { noProgress, progressView } from "../output/progress.ts";
import { isTerminal, print } from "../output/terminal.ts";
import { withoutTransfer } from "./advice.ts";
import { type PlatformFlags, platformsOf } from "./transfer.ts";

export interface LoadFlags extends PlatformFlags {
  readonly input?: string;
  readonly quiet?: boolean;
  readonly unpack?: boolean;
  readonly snapshotter?: string;
}

export interface SaveFlags extends PlatformFlags {
  readonly output?: string;
  readonly quiet?: boolean;
}

/** Name of what an archive gives no name; the digest follows. */
const NAMELESS = "import";

/** Loads the images of an archive. @throws Error, CallError */
export async function load({ api, namespace }: Connection, flags: LoadFlags): Promise<void> {
  const { input } = flags;
  const isStdin = input === undefined || input === "-";
  if (isStdin && isTerminal(process.stdin))
    throw new Error("an archive is read from standard input, which is a terminal: use -i FILE, or a pipe");
  const total = isStdin ? undefined : sizeOf(input);
  const view = flags.quiet ? noProgress : progressView();
  const saved = new Set<string>();
  let done = 0;
  async function* counted(): AsyncGenerator<Uint8Array> {
    for await (const part of isStdin ? process.stdin : createReadStream(input, { highWaterMark: 1 << 20 })) {
      done += (part as Uint8Array).length;
      view.bytes(done, total);
      yield part as Uint8Array;
    }
  }
  const onStep = (step: TransferStep): void => {
    if (step.event === "saved") saved.add(step.name);
    else view.step(step);
  };
  try {
    await interruptible((signal) =>
      importArchive({ api, namespace, signal, onStep }, counted(), NAMELESS, {
        platforms: platformsOf(flags, [hostPlatform()]),
        unpack: flags.unpack === false ? undefined : (flags.snapshotter ?? ""),
      }),
    );
  } catch (error) {
    throw advised(withoutTransfer(error), input);
  } finally {
    view.end();
  }
  for (const name of saved) await print(flags.quiet ? `${shown(name)}\n` : `Loaded image: ${shown(name)}\n`);
}

function sizeOf(path: string): number {
  try {
    const status = statSync(path);
    if (status.isDirectory()) throw new Error("it is a directory: an archive is a file");
    return status.size;
  } catch (error) {
    throw new Error(`cannot read ${path}: ${messageOf(error)}`);
  }
}

function advised(error: unknown, input: string | undefined): unknown {
  if (!(error instanceof Error) || error.name === "ExitStatus") return error;
  const what = input === undefined || input === "-" ? "the archive" : input;
  if (/filtered out|no match for platform/i.test(error.message)) {
    return new Error(`${what} has no image for this platform: --all-platforms loads it nevertheless`);
  }
  if (/unrecognized image format|invalid tar|unexpected end|unexpected EOF/i.test(error.message)) {
    return new Error(`${what} is no image archive, or not all of it is there: ${shown(error.message)}`);
  }
  return error;
}

/** Saves images as one archive. @throws Error, CallError */
export async function save({ api, namespace }: Connection, names: readonly string[], flags: SaveFlags): Promise<void> {
  const { output } = flags;
  const isStdout = output === undefined || output === "-";
  if (isStdout && isTerminal()) throw new Error("an archive does not go to a terminal: use -o FILE, or a pipe");
  const images: string[] = [];
  for (const name of names) images.push((await findImage(api, namespace, name)).name);
  // Other platforms than this machine's are rarely there, and what is not there cannot be saved.
  const platforms = platformsOf(flags, [hostPlatform()]);
  const view = flags.quiet || isStdout ? noProgress : progressView();
  const file = isStdout ? undefined : `${output}.${process.pid}`;
  const sink: Writable = file === undefined ? process.stdout : createWriteStream(file, { mode: 0o644 });
  let failure: Error | undefined;
  sink.on("error", (error) => {
    failure = error;
  });
  let done = 0;
  const write = async (bytes: Uint8Array): Promise<void> => {
    if (failure) throw failure;
    done += bytes.length;
    view.bytes(done);
    await new Promise<void>((resolve, reject) => {
      sink.write(bytes, (error) => (error ? reject(error) : resolve()));
    });
  };
  const options = { platforms, allPlatforms: flags.allPlatforms ?? false };
  try {
    await interruptible((signal) =>
      exportArchive(
        { api, namespace, signal, onStep: (step) => view.step(step) },
        [...new Set(images)],
        write,
        options,
      ),
    );
    if (file !== undefined) {
      sink.end();
      await once(sink, "close");
      if (failure) throw failure;
      view.bytes(done, done);
      renameSync(file, output ?? file);
    }
  } catch (error) {
    if (file !== undefined) {
      sink.destroy();
      rmSync(file, { force: true });
    }
    throw withoutTransfer(error);
  } finally {
    view.end();
  }
}
