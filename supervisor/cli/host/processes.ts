/** `berth top CONTAINER`: the processes of a container, as this machine sees them. */

import { readFileSync } from "node:fs";
import { failedPrecondition } from "../../../proto/errdefs.ts";
import type { Connection } from "../connect.ts";
import { shown } from "../output/escape.ts";
import { type ListFlags, type Listing, printList } from "../output/list.ts";
import { binarySize } from "../output/size.ts";

/** The kernel counts CPU time in hundredths of a second for programs, on every machine that berth runs on. */
const TICKS = 100;
const PAGE = 4096;

/** One process. */
export interface ProcessRow {
  readonly pid: number;
  readonly parent: number;
  readonly user: string;
  readonly state: string;
  /** Seconds of CPU time. */
  readonly cpu: number;
  /** Bytes of resident memory. */
  readonly memory: number;
  /** Seconds since the machine's start at which it began. */
  readonly started: number;
  readonly command: string;
}

const listing: Listing<ProcessRow> = {
  columns: () => [
    { header: "USER", cell: ({ user }) => shown(user) },
    { header: "PID", cell: ({ pid }) => String(pid), align: "right" },
    { header: "PPID", cell: ({ parent }) => String(parent), align: "right" },
    { header: "S", cell: ({ state }) => state },
    { header: "TIME", cell: ({ cpu }) => timeOf(cpu), align: "right" },
    { header: "RSS", cell: ({ memory }) => binarySize(memory, 3), align: "right" },
    { header: "COMMAND", cell: ({ command }) => shown(command), min: 8 },
  ],
  item: ({ pid, parent, user, state, cpu, memory, command }) => ({
    USER: user,
    PID: pid,
    PPID: parent,
    State: state,
    CPUSeconds: cpu,
    RSSBytes: memory,
    COMMAND: command,
  }),
  id: ({ pid }) => String(pid),
};

function timeOf(seconds: number): string {
  const part = (value: number): string => String(Math.floor(value)).padStart(2, "0");
  return `${part(seconds / 3600)}:${part((seconds / 60) % 60)}:${part(seconds % 60)}`;
}

/** Lists the processes of a container. @throws ContainerdError */
export async function processes({ api, namespace }: Connection, id: string, flags: ListFlags): Promise<void> {
  const call = { containerId: id };
  const { processes: found } = await api.call("containerd.services.tasks.v1.Tasks", "ListPids", call, { namespace });
  const rows = found.flatMap(({ pid }) => readRow(pid ?? 0) ?? []);
  if (rows.length === 0) throw failedPrecondition(`container ${shown(id)} has no process that can be seen from here`);
  await printList(rows, listing, flags);
}

function readRow(pid: number): ProcessRow | undefined {
  try {
    const read = (name: string): string => readFileSync(`/proc/${pid}/${name}`, "utf8");
    return parseProcess(pid, { stat: read("stat"), status: read("status"), cmdline: read("cmdline") }, userNames());
  } catch {
    // It has ended meanwhile.
    return undefined;
  }
}

/** @param files of /proc/PID @throws Error for what is not as the kernel writes it */
export function parseProcess(
  pid: number,
  files: { readonly stat: string; readonly status: string; readonly cmdline: string },
  users: ReadonlyMap<number, string>,
): ProcessRow {
  // The name of a program may hold spaces and parentheses.
  const close = files.stat.lastIndexOf(")");
  const name = files.stat.slice(files.stat.indexOf("(") + 1, close);
  const fields = files.stat.slice(close + 2).split(" ");
  if (close < 0 || fields.length < 22) throw new Error(`/proc/${pid}/stat has too few fields`);
  const field = (number: number): number => Number(fields[number - 3] ?? 0);
  const uid = Number(/^Uid:\s+\d+\s+(\d+)/m.exec(files.status)?.[1] ?? 0);
  const command = files.cmdline.replace(/\0+$/, "").replaceAll("\0", " ");
  return {
    pid,
    parent: field(4),
    user: users.get(uid) ?? String(uid),
    state: fields[0] ?? "?",
    cpu: (field(14) + field(15)) / TICKS,
    memory: field(24) * PAGE,
    started: field(22) / TICKS,
    command: command === "" ? `[${name}]` : command,
  };
}

let names: Map<number, string> | undefined;

/** Users of this machine: those of the container's own list are not known here, as docker top shows it too. */
function userNames(): Map<number, string> {
  if (names !== undefined) return names;
  names = new Map();
  try {
    for (const line of readFileSync("/etc/passwd", "utf8").split("\n")) {
      const [name, , uid] = line.split(":");
      if (name && uid) names.set(Number(uid), name);
    }
  } catch {
    // Numbers then.
  }
  return names;
}
