/** What `logs` does. */

import { failedPrecondition, invalidArgument } from "../../../proto/errdefs.ts";
import type { Api } from "../../client/api.ts";
import { labels } from "../../container/labels.ts";
import { type ContainerMessage, containerOf, isNotFound, taskOf } from "../../container/task.ts";
import { isPart, isWanted, type LogEntry } from "../../logs/entry.ts";
import { lossOf, readerOf } from "../../logs/uri.ts";
import { lastExitOf, shouldRestart } from "../../restart/policy.ts";
import type { Connection } from "../connect.ts";
import { parseMoment } from "../output/age.ts";
import { interruptible } from "../output/interrupt.ts";
import { note, print } from "../output/terminal.ts";
import { integerOf } from "./parse.ts";
import { toStderr } from "./session.ts";

/** What the flags say. */
export interface LogsFlags {
  readonly follow?: boolean;
  readonly since?: string;
  readonly until?: string;
  readonly tail?: string;
  readonly timestamps?: boolean;
}

/** A container whose restarts are used up is not started for so long, in milliseconds: then it is believed. */
const GIVEN_UP_MS = 3000;

/** Prints the log of a container. @throws ContainerdError */
export async function logs({ api, namespace }: Connection, id: string, flags: LogsFlags): Promise<number> {
  const uri = await logUriOf(api, namespace, await containerOf(api, namespace, id));
  const reader = readerOf(uri);
  if (reader === undefined) {
    throw failedPrecondition(
      uri === ""
        ? `container ${id} keeps no log: berth run without --log-driver none makes one that does`
        : `the log of container ${id} goes to ${uri}: only what is there knows it`,
    );
  }
  const [since, until] = [momentOf("--since", flags.since)?.getTime(), momentOf("--until", flags.until)];
  const span = { since, until: until?.getTime() };
  const tail = flags.tail === undefined || flags.tail === "all" ? undefined : integerOf("--tail", flags.tail);
  const printer = new LogPrinter(flags.timestamps);
  await interruptible(async (signal) => {
    const finished = flags.follow ? followed(api, namespace, id, until, signal) : undefined;
    // Lines are counted among those of the time that is asked for: with both, all are looked at.
    const isTimed = since !== undefined || until !== undefined;
    const onGap = () => note(`berth logs: files of the log of ${id} were removed before they could be read\n`);
    const options = { tail: isTimed ? undefined : tail, signal, follow: finished !== undefined, finished, onGap };
    const last: LogEntry[] = [];
    for await (const entries of reader.read(options)) {
      const wanted = entries.filter((entry) => isWanted(entry, span));
      if (!isTimed || tail === undefined || flags.follow) await printer.print(wanted);
      else {
        last.push(...wanted);
        last.splice(0, last.length - tail);
      }
    }
    await printer.print(last);
  });
  const loss = await lossOf(uri);
  if (loss !== undefined) {
    note(`berth logs: ${loss.bytes} bytes of ${id} could not be written, the last at ${loss.last}: ${loss.error}\n`);
  }
  return 0;
}

/** The URI of a container's log, empty when it has none: by its labels, or by the streams of its task. */
export async function logUriOf(api: Api, namespace: string, container: ContainerMessage): Promise<string> {
  const own = container.labels ?? {};
  const named = own[labels.log] || own[labels.restart.logUri];
  if (named) return named;
  const task = await taskOf(api, namespace, container.id ?? "");
  return [task?.stdout, task?.stderr].find((uri) => uri?.startsWith("file://")) ?? "";
}

/** Writes entries to the streams that they came from. */
export class LogPrinter {
  readonly #withTimes: boolean;
  /** The last entry of each stream was a part of a line. */
  readonly #inLine = { stdout: false, stderr: false };

  /** @param withTimes each line begins with its time */
  constructor(withTimes = false) {
    this.#withTimes = withTimes;
  }

  /** Entries that follow each other on one stream are written at once. */
  async print(entries: readonly LogEntry[]): Promise<void> {
    for (let at = 0; at < entries.length; ) {
      const stream = entries[at]?.stream ?? "stdout";
      const parts: Uint8Array[] = [];
      for (let entry = entries[at]; entry?.stream === stream; entry = entries[++at]) parts.push(...this.#spell(entry));
      const bytes = Buffer.concat(parts);
      if (stream === "stdout") await print(bytes);
      else await toStderr(bytes);
    }
  }

  #spell(entry: LogEntry): Uint8Array[] {
    const begins = !this.#inLine[entry.stream];
    this.#inLine[entry.stream] = isPart(entry);
    return this.#withTimes && begins && entry.time !== "" ? [Buffer.from(`${entry.time} `), entry.text] : [entry.text];
  }
}

function momentOf(flag: string, text: string | undefined): Date | undefined {
  if (text === undefined) return undefined;
  const moment = parseMoment(text);
  if (moment === undefined) {
    throw invalidArgument(
      `${flag} ${JSON.stringify(text)}: it is how long ago (10m), or a moment (2026-01-31T12:00:00)`,
    );
  }
  return moment;
}

/**
 * Aborted when nothing more will come: the container has ended and nobody starts it again, or it is gone, or `until` has
 * come. While the daemon is away, the log is followed: the container goes on.
 */
function followed(api: Api, namespace: string, id: string, until: Date | undefined, signal: AbortSignal): AbortSignal {
  const controller = new AbortController();
  const end = (): void => controller.abort();
  if (until !== undefined) setTimeout(end, Math.max(0, until.getTime() - Date.now())).unref();
  signal.addEventListener("abort", end, { once: true });
  void (async () => {
    const stop = AbortSignal.any([signal, controller.signal]);
    for (let pause = 200; !stop.aborted; pause = Math.min(pause * 2, 5000)) {
      try {
        await untilEnded(api, namespace, id, stop);
        end();
      } catch {
        await Bun.sleep(pause);
      }
    }
  })();
  return controller.signal;
}

/** Resolves when a container does not run, and is not kept running. @throws CallError when the daemon goes away */
async function untilEnded(api: Api, namespace: string, id: string, signal: AbortSignal): Promise<void> {
  const topics = ["/tasks/exit", "/tasks/delete", "/containers/delete", "/containers/update"];
  const filters = topics.map((topic) => `topic=="${topic}"`);
  const events = api.stream("containerd.services.events.v1.Events", "Subscribe", { filters }, { namespace, signal });
  const next = events[Symbol.asyncIterator]();
  try {
    // The subscription comes first: an end after the look is told.
    let event = next.next();
    while (!signal.aborted) {
      const over = await isOver(api, namespace, id);
      if (over === "yes") return;
      // The monitor counts a start before it makes it: only what stays so is the end.
      const seen = over === "no" ? await event : await Promise.race([event, Bun.sleep(GIVEN_UP_MS)]);
      if (seen === undefined && (await isOver(api, namespace, id)) !== "no") return;
      if (seen?.done) throw new Error("the daemon has gone");
      if (seen !== undefined) event = next.next();
    }
    event.catch(() => undefined);
  } finally {
    void next.return?.(undefined);
  }
}

async function isOver(api: Api, namespace: string, id: string): Promise<"yes" | "no" | "likely"> {
  const task = await taskOf(api, namespace, id);
  if (task !== undefined && task.status !== "stopped") return "no";
  let own: Readonly<Record<string, string>>;
  try {
    own = (await containerOf(api, namespace, id)).labels ?? {};
  } catch (error) {
    if (isNotFound(error)) return "yes";
    throw error;
  }
  if (own[labels.restart.status] !== "running" || !own[labels.restart.policy]) return "yes";
  // Between two tasks there is none, and nobody knows yet how the last one ended.
  const exit = task?.exitStatus ?? lastExitOf(own);
  if (exit === undefined || shouldRestart(own, exit).yes) return "no";
  return exit === 0 ? "yes" : "likely";
}
