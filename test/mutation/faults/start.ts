/** Faults of `start`, `-info`, `-v`, and of the process that serves. */

import { chmodSync, existsSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { containerd } from "../../../proto/gen/shim.js";
import { tokenVariable } from "../../conformance/rig/bundle.ts";
import { bytesField, concat, readFields, varintField } from "../../conformance/rig/wire.ts";
import type { BinaryAnswer, BinaryCall, Fault } from "../fault.ts";
import { Reply } from "../rpc.ts";
import { answers, swallows } from "./make.ts";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const text = (from: Uint8Array): string => new TextDecoder().decode(from);
const started = ({ action }: BinaryCall, { exitCode }: BinaryAnswer): boolean => action === "start" && exitCode === 0;
const says = (exitCode: number, stderr = "", stdout = ""): BinaryAnswer => ({
  exitCode,
  stderr,
  stdout: bytes(stdout),
});
/** The kit itself starts the shim once, before any check: it must not be put off. */
const afterMeeting = ({ nth }: BinaryCall): boolean => nth > 1;

/** The address in a plain answer; undefined in any other. */
function plainAddress({ stdout }: BinaryAnswer): string | undefined {
  return text(stdout).startsWith("unix://") ? text(stdout).trim() : undefined;
}

function bootstrapFields({ stdin, id }: BinaryCall): ReturnType<typeof readFields> | undefined {
  try {
    const fields = readFields(stdin);
    return text(fields.find(({ number }) => number === 1)?.bytes ?? new Uint8Array()) === id ? fields : undefined;
  } catch {
    return undefined;
  }
}

function json(version: number): NonNullable<Fault["answer"]> {
  return (answer, call) => {
    const address = plainAddress(answer);
    if (!started(call, answer) || address === undefined) return;
    answer.stdout = bytes(JSON.stringify({ version, address, protocol: "ttrpc" }));
  };
}

export const startFaults: readonly Fault[] = [
  {
    name: "start warns on stderr",
    by: ["ST-5.stderr"],
    answer: (answer, call) => {
      if (started(call, answer)) answer.stderr = "warning: something is old\n";
    },
  },
  {
    name: "start says more than the address",
    by: ["ST-5.stderr", "ST-4.1.6", "ST-4.2.2"],
    also: ["*"],
    answer: (answer, call) => {
      if (started(call, answer) && afterMeeting(call)) answer.stdout = concat(answer.stdout, bytes("\nready\n"));
    },
  },
  { name: "start answers JSON, which 1.6 does not read", by: ["ST-4.1.6"], answer: json(2) },
  { name: "start announces version 3 to all", by: ["ST-4.1.6", "ST-4.1.7"], answer: json(3) },
  {
    name: "start announces version 1 to 2.3 and later",
    by: ["ST-4.2.3", "ST-4.2.4"],
    also: ["ST-2.*"],
    answer: (answer, call) => {
      const address = /unix:\/\/[!-~]+/.exec(text(answer.stdout))?.[0];
      if (!started(call, answer) || address === undefined || bootstrapFields(call) === undefined) return;
      answer.stdout = concat(varintField(1, 1), bytesField(2, address), bytesField(3, "ttrpc"));
    },
  },
  {
    name: "start answers an address where nobody listens",
    by: ["ST-7"],
    also: ["*"],
    answer: (answer, call) => {
      if (started(call, answer) && afterMeeting(call)) answer.stdout = bytes(`unix://${call.cwd}/nobody.sock`);
    },
  },
  {
    name: "start answers before the shim listens",
    by: ["ST-7"],
    also: ["*"],
    serving: ({ socket, call }) => {
      if (!afterMeeting(call)) return;
      renameSync(socket, `${socket}.later`);
      setTimeout(() => renameSync(`${socket}.later`, socket), 500);
    },
    // It may have been killed before.
    ended: ({ socket }) => rmSync(`${socket}.later`, { force: true }),
  },
  {
    name: "what start leaves running holds its stdout",
    by: ["ST-10.streams"],
    also: ["*"],
    timeout: 15,
    answer: (answer, call) => {
      if (!started(call, answer) || !afterMeeting(call)) return;
      const env = { [tokenVariable]: call.namespace };
      Bun.spawn(["sleep", "1000"], {
        env,
        stdin: "ignore",
        stdout: "inherit",
        stderr: "ignore",
        detached: true,
      }).unref();
    },
  },
  {
    name: "a start that fails ends with status 0",
    by: ["ST-5.failure", "INV-3"],
    answer: (answer, { action }) => {
      if (action === "start") answer.exitCode = 0;
    },
  },
  {
    name: "a start that fails says nothing",
    by: ["ST-5.failure", "INV-3"],
    answer: (answer) => {
      answer.stderr = "";
    },
  },
  {
    name: "start does not know BootstrapParams",
    by: ["ST-4.2.3", "ST-4.2.4", "ST-2.log-level"],
    also: ["SK-1.socket-dir"],
    call: (call) => (bootstrapFields(call) === undefined ? undefined : says(1, "IncorrectTag(46)\n")),
  },
  {
    name: "start does not read negative numbers",
    by: ["ST-2.log-level"],
    call: (call) => {
      const level = bootstrapFields(call)?.find(({ number }) => number === 3)?.value ?? 0n;
      return level > 0xffff_ffffn ? says(1, "the message is malformed\n") : undefined;
    },
  },
  {
    name: "start wants options on stdin",
    by: ["ST-1.none"],
    also: ["INV-2.*"],
    call: ({ action, stdin }) => (action === "start" && stdin.length === 0 ? says(1, "no options\n") : undefined),
  },
  {
    name: "socket_dir is ignored",
    by: ["SK-1.socket-dir"],
    call: (call) => {
      const fields = bootstrapFields(call)?.filter(({ number }) => number !== 9);
      if (fields === undefined) return undefined;
      call.stdin = concat(
        ...fields.map((field) =>
          field.number === 3 ? varintField(3, field.value) : bytesField(field.number, field.bytes),
        ),
      );
      return undefined;
    },
  },
  {
    name: "the socket has another name",
    by: ["SK-1.path"],
    also: ["SK-*", "ST-11.*"],
    serving: ({ socket }) => renameSync(socket, `${socket}2`),
    answer: (answer, call) => {
      const address = plainAddress(answer);
      if (started(call, answer) && address !== undefined) answer.stdout = bytes(`${address}2`);
    },
    ended: ({ socket }) => rmSync(`${socket}2`, { force: true }),
  },
  { name: "anyone may connect", by: ["SK-6.mode"], serving: ({ socket }) => chmodSync(socket, 0o666) },
  {
    name: "the file address is missing",
    by: ["ST-11.address"],
    answer: (_, { cwd }) => rmSync(join(cwd, "address"), { force: true }),
  },
  {
    name: "the file address has a line feed too many",
    by: ["ST-11.address"],
    answer: (answer, call) => {
      if (!started(call, answer)) return;
      const path = join(call.cwd, "address");
      writeFileSync(path, `${readFileSync(path, "utf8")}\n`);
    },
  },
  {
    name: "the shim is as likely to be killed as its container",
    by: ["ST-9.oom-score"],
    serving: ({ realPid }) => writeFileSync(`/proc/${realPid}/oom_score_adj`, "500"),
  },
  {
    name: "two dashes are refused",
    by: ["INV-2.double-dash"],
    call: ({ argv }) => (argv.some((word) => word.startsWith("--")) ? says(1, "what is --?\n") : undefined),
  },
  {
    name: "a value after an equals sign is refused",
    by: ["INV-2.equals"],
    call: ({ argv }) => (argv.some((word) => /^-.*=/.test(word)) ? says(1, "what is =?\n") : undefined),
  },
  {
    name: "an unknown action is taken for done",
    by: ["INV-2.action"],
    call: ({ action }) => (action === "no-such-action" ? says(0) : undefined),
  },
  {
    name: "the debug flag makes start talk",
    by: ["INV-2.debug"],
    also: ["SK-7.debug", "PR-8.*", "ST-2.*"],
    answer: (answer, call) => {
      if (call.argv.includes("-debug")) answer.stdout = concat(bytes("debugging is on\n"), answer.stdout);
    },
  },
  {
    name: "a call without a namespace is taken",
    by: ["INV-3"],
    call: ({ action, namespace }) => (action === "start" && namespace === "" ? says(0, "", "unix:///x") : undefined),
  },
  {
    name: "a stale socket makes start fail",
    by: ["SK-2.stale"],
    call: ({ action, cwd }) => {
      if (action !== "start") return undefined;
      const known = Bun.spawnSync(["test", "-e", join(cwd, "address")]).exitCode === 0;
      return known ? says(1, "address already in use\n") : undefined;
    },
  },
  {
    name: "-info fails",
    by: ["IN-1"],
    call: ({ argv }) => (argv.includes("-info") ? says(1, "what is -info?\n") : undefined),
  },
  {
    name: "-info has no name",
    by: ["IN-1"],
    answer: (answer, { argv }) => {
      if (!argv.includes("-info")) return;
      const info = containerd.types.RuntimeInfo.decode(answer.stdout);
      info.name = "";
      answer.stdout = containerd.types.RuntimeInfo.encode(info).finish();
    },
  },
  {
    name: "-v says nothing",
    by: ["IN-4"],
    call: ({ argv }) => (argv.includes("-v") ? says(0) : undefined),
  },
  {
    name: "Shutdown is taken and nothing ends",
    by: ["SK-7.unused", "T-SHU-1.ends", "SK-3.ends"],
    timeout: 12,
    rpc: swallows("Shutdown"),
  },
  {
    name: "a shim that ends leaves its socket",
    by: ["SK-7.shutdown", "SK-7.group"],
    also: ["SK-7.*", "DL-8"],
    ended: ({ socket }) => {
      if (!existsSync(socket)) writeFileSync(socket, "");
    },
  },
  {
    name: "SIGTERM is ignored",
    by: ["PR-5.sigterm"],
    standIn: 'trap "" TERM; while kill -0 "$SHIM"; do sleep 0.1; done',
  },
  {
    name: "SIGPIPE ends the shim",
    by: ["PR-5.sigpipe"],
    standIn: 'trap "kill -9 $SHIM" PIPE; while kill -0 "$SHIM"; do sleep 0.02; done',
  },
  {
    name: "SIGUSR1 ends the shim",
    by: ["PR-5.sigusr1"],
    standIn: 'trap "kill -9 $SHIM" USR1; while kill -0 "$SHIM"; do sleep 0.02; done',
  },
  { name: "the shim is never idle", by: ["PR-11.idle"], standIn: "while :; do :; done" },
  {
    name: "start announces version 4 to 2.0 and later",
    by: ["ST-4.2.0", "ST-4.2.2"],
    also: ["*"],
    answer: (answer, call) => {
      if (afterMeeting(call) && call.env["MAX_SHIM_VERSION"] !== undefined) json(4)(answer, call);
    },
  },
  {
    name: "the socket of a long id has a long path",
    by: ["SK-1.length"],
    answer: (answer, call) => {
      if (started(call, answer) && call.id.length > 60)
        answer.stdout = bytes(`unix:///run/containerd/s/${call.id}${call.id}`);
    },
  },
  {
    name: "a plain file in the socket's place makes start fail",
    by: ["SK-2.not-a-socket"],
    call: ({ action, argv, namespace, id }) => {
      const address = argv[argv.indexOf("-address") + 1] ?? "";
      const name = new Bun.CryptoHasher("sha256").update([address, namespace, id].join("/")).digest("hex");
      const stat = statSync(join("/run/containerd/s", name), { throwIfNoEntry: false });
      return action === "start" && stat?.isFile() ? says(1, "it is no socket\n") : undefined;
    },
  },
  {
    name: "a shim that ends leaves its debug socket",
    by: ["SK-7.debug"],
    ended: ({ call: { argv, namespace, id } }) => {
      const address = argv[argv.indexOf("-address") + 1] ?? "";
      const name = new Bun.CryptoHasher("sha256").update([address, namespace, id, "debug"].join("/")).digest("hex");
      if (argv.includes("-debug")) writeFileSync(join("/run/containerd/s", name), "");
    },
  },
  {
    name: "the version that start announces is not served",
    by: ["TT-7.announced"],
    also: ["*"],
    answer: (answer, call) => {
      if (afterMeeting(call)) json(3)(answer, call);
    },
    rpc: async (call, next) => (call.service.includes(".v3.") ? Reply.refusal(12) : await next()),
  },
  {
    name: "the shim stays in the process group of its caller",
    by: ["ST-10.session"],
    also: ["*"],
    // What start leaves running is the shim by the answer of Connect.
    answer: (answer, call) => {
      if (!started(call, answer) || !afterMeeting(call)) return;
      const env = { [tokenVariable]: call.namespace };
      const { pid } = Bun.spawn(["sleep", "1000"], { env, stdin: "ignore", stdout: "ignore", stderr: "ignore" });
      writeFileSync(join(call.cwd, "left-running"), String(pid));
    },
    rpc: answers("Connect", (answer, { wire }) => {
      const path = join(wire.served.call.cwd, "left-running");
      if (existsSync(path)) answer.shimPid = Number(readFileSync(path, "utf8"));
    }),
  },
];
