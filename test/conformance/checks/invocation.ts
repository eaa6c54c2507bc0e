/** The binary calls `start`, `-info` and `-v` (contract 1.1, 1.2, 1.4 and 1.6). */

import { existsSync, mkdirSync, readdirSync, readFileSync, readlinkSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { containerd } from "../../../proto/gen/shim.js";
import { equal, holds, matches, refused } from "../assert.ts";
import type { Check, Section } from "../check.ts";
import type { Context } from "../rig/context.ts";
import { anyBytes, type Dialect, dialects, socketPath } from "../rig/dialect.ts";
import { statField } from "../rig/machine.ts";

const util = "pkg/shim/util.go";
const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

/** Starts a shim in a dialect, and runs a container from end to end with what it answered. */
async function startsAs(t: Context, dialect: Dialect, debug = false): Promise<void> {
  const shim = await t.start(t.bundle({ args: t.ending("exit 7") }), { dialect, debug });
  await shim.create();
  await shim.task.start(shim.id);
  equal("the exit status of the container", (await shim.task.wait(shim.id)).exitStatus, 7);
}

const dialectChecks: readonly Check[] = Object.values<Dialect>(dialects).map((dialect) => ({
  id: `ST-4.${dialect.containerd}`,
  level: "must",
  title: `A shim that containerd ${dialect.containerd} starts answers in a form that this version reads, and serves.`,
  source: dialect.containerd === "1.6" ? "runtime/v2/binary.go" : "core/runtime/v2/shim.go",
  body: (t) => startsAs(t, dialect),
}));

const survivedSignals: readonly Check[] = (
  [
    ["SIGPIPE", "SIGPIPE does not end a shim."],
    ["SIGUSR1", "SIGUSR1, which asks for a dump, does not end a shim."],
  ] as const
).map(([signal, title]) => ({
  id: `PR-5.${signal.toLowerCase()}`,
  level: "must",
  title,
  source: "pkg/shim/shim_unix.go",
  body: async (t) => {
    const shim = await t.run();
    process.kill(shim.pid, signal);
    await Bun.sleep(100);
    equal("the status of the task", (await shim.task.state(shim.id)).status, "RUNNING");
  },
}));

export const invocation: Section = {
  name: "invocation",
  checks: [
    {
      id: "INV-2.double-dash",
      level: "must",
      title: "Flags may have two dashes.",
      source: "pkg/shim/shim.go (Go's flag package)",
      body: async (t) => {
        const bundle = t.bundle();
        const argv = t.flags(bundle, "start").map((word) => (word.startsWith("-") ? `-${word}` : word));
        const env = t.environment({ TTRPC_ADDRESS: t.events.path });
        const answer = await t.call(argv, { cwd: bundle.path, env });
        holds("start to end with status 0", answer.exitCode === 0, answer.stderr);
      },
    },
    {
      id: "INV-2.equals",
      level: "must",
      title: "A flag's value may follow an equals sign.",
      source: "pkg/shim/shim.go (Go's flag package)",
      body: async (t) => {
        const bundle = t.bundle();
        const argv = [
          `-namespace=${t.namespace}`,
          `-address=${t.address}`,
          "-publish-binary=/bin/true",
          `-id=${bundle.id}`,
        ];
        const env = t.environment({ TTRPC_ADDRESS: t.events.path });
        const answer = await t.call([...argv, "start"], { cwd: bundle.path, env });
        holds("start to end with status 0", answer.exitCode === 0, answer.stderr);
      },
    },
    {
      id: "INV-3",
      level: "must",
      title: "A call without a namespace fails, and says so on stderr.",
      source: "pkg/shim/shim.go",
      body: async (t) => {
        const bundle = t.bundle();
        const answer = await t.call(["-address", t.address, "-id", bundle.id, "start"], { cwd: bundle.path });
        holds("start to fail", answer.exitCode !== 0, "status 0");
        matches("stderr", answer.stderr, /namespace/);
      },
    },
    {
      id: "INV-2.action",
      level: "should",
      title: "An action that there is none of fails.",
      source: "pkg/shim/shim.go",
      body: async (t) => {
        const bundle = t.bundle();
        const argv = [...t.flags(bundle, "start").slice(0, -1), "no-such-action"];
        // Without an address it cannot mistake the word for a wish to serve.
        const answer = await t.call(argv, { cwd: bundle.path, limit: 5000 });
        holds("the call to fail", answer.exitCode !== 0, "status 0");
      },
    },
    {
      id: "INV-2.debug",
      level: "must",
      title: "-debug changes nothing of the answer.",
      source: util,
      body: (t) => startsAs(t, t.subject.dialect, true),
    },
    ...dialectChecks,
    {
      id: "ST-1.none",
      level: "must",
      title: "start without anything on stdin uses the defaults.",
      source: "core/runtime/v2/binary.go",
      body: async (t) => {
        const dialect = dialects["2.0"];
        const shim = await t.start(t.bundle(), { dialect, stdin: new Uint8Array() });
        equal("the pid of a container that is not there", (await shim.task.connect(shim.id)).taskPid, 0);
      },
    },
    {
      id: "ST-2.log-level",
      level: "must",
      title: "BootstrapParams with a negative log level, which takes ten bytes, are read.",
      source: "api/runtime/bootstrap/v1/bootstrap.proto",
      body: (t) => startsAs(t, dialects["2.4"], true),
    },
    {
      id: "ST-5.stderr",
      level: "must",
      title: "stderr of a start that succeeds is empty, since containerd reads it with stdout.",
      source: "core/runtime/v2/binary.go (CombinedOutput)",
      body: async (t) => {
        const answer = await t.callStart(t.bundle());
        equal("the status of start", answer.exitCode, 0);
        equal("stderr", answer.stderr, "");
        t.addressOf(answer);
      },
    },
    {
      id: "ST-5.failure",
      level: "must",
      title: "A start that fails ends with another status than 0, and says why on stderr.",
      source: "core/runtime/v2/binary.go",
      body: async (t) => {
        const bundle = t.bundle({ config: "{ this is no JSON" });
        const answer = await t.callStart(bundle);
        if (answer.exitCode !== 0) {
          holds("a reason on stderr", answer.stderr.trim() !== "", "nothing");
          return;
        }
        // A shim that groups has to read the annotations here; another may leave the config to Create.
        const shim = await t.connect(bundle, t.addressOf(answer));
        await refused("Create, if not start,", shim.create(), 2, 3, 5, 9, 13);
      },
    },
    {
      id: "ST-7",
      level: "must",
      title: "Each of 10 starts returns only when the socket accepts connections.",
      source: "pkg/shim/shim_unix.go (serveListener)",
      body: async (t) => {
        for (let n = 0; n < 10; n++) {
          const bundle = t.bundle();
          const { address } = await t.startCall(bundle);
          (await t.dial(address)).close();
        }
      },
    },
    {
      id: "ST-9.oom-score",
      level: "should",
      title: "The serving process has the caller's oom_score_adj plus one, at most 1000.",
      source: "integration/client/container_linux_test.go (TestShimOOMScore)",
      body: async (t) => {
        const own = Number(readFileSync("/proc/self/oom_score_adj", "utf8"));
        const shim = await t.start(t.bundle());
        const score = Number(readFileSync(`/proc/${shim.pid}/oom_score_adj`, "utf8"));
        equal("the oom_score_adj of the shim", score, Math.min(1000, own + 1));
      },
    },
    {
      id: "ST-10.session",
      level: "must",
      title: "The serving process is in another process group than its caller.",
      source: "pkg/shim/util_unix.go (Setpgid)",
      body: async (t) => {
        const shim = await t.start(t.bundle());
        const group = statField(shim.pid, 5);
        holds("a process group of its own", group !== statField(process.pid, 5), `group ${group}`);
      },
    },
    {
      id: "ST-10.streams",
      level: "must",
      title: "The serving process does not hold stdout and stderr of start, or containerd would wait for ever.",
      source: "core/runtime/v2/binary.go (CombinedOutput)",
      body: async (t) => {
        // The call itself throws when a stream does not end; nothing of ours may be left open either.
        const shim = await t.start(t.bundle());
        const open = readdirSync(`/proc/${shim.pid}/fd`).filter((fd) => ["0", "1", "2"].includes(fd));
        const streams = open.map((fd) => readlinkSync(`/proc/${shim.pid}/fd/${fd}`));
        holds(
          "stdin, stdout and stderr to be no pipes",
          !streams.some((target) => target.startsWith("pipe:")),
          streams,
        );
      },
    },
    {
      id: "ST-11.address",
      level: "must",
      title: "The shim leaves its address in the bundle's file `address`, which 1.6 and 1.7 read when they restart.",
      source: "runtime/v2/shim.go (loadAddress, 1.6)",
      body: async (t) => {
        const shim = await t.start(t.bundle());
        if (shim.found.version > 2) return t.skip(`1.6 and 1.7 refuse version ${shim.found.version}`);
        const path = join(shim.bundle.path, "address");
        holds("a file `address`", existsSync(path), readdirSync(shim.bundle.path));
        equal("its content", readFileSync(path, "utf8"), shim.found.address);
      },
    },
    {
      id: "SK-1.path",
      level: "should",
      title: "The socket's name is the hash of containerd's address, the namespace and the id.",
      source: "pkg/shim/util_unix.go (SocketAddress)",
      body: async (t) => {
        const bundle = t.bundle();
        const { address } = await t.startCall(bundle);
        equal("the address", address, `unix://${t.expectedSocket(bundle.id)}`);
      },
    },
    {
      id: "SK-1.length",
      level: "must",
      title: "The path of the socket has at most 106 bytes.",
      source: "pkg/shim/util_test.go (TestShimSockLength)",
      body: async (t) => {
        const { address } = await t.startCall(t.bundle({}, `c${"x".repeat(75)}`));
        const path = socketPath(address) ?? "";
        holds("a path of at most 106 bytes", path.length <= 106, `${path.length} bytes: ${path}`);
      },
    },
    {
      id: "SK-6.mode",
      level: "must",
      title: "Nobody but root can connect to the socket.",
      source: "pkg/shim/util_unix.go (NewSocket, 0600)",
      body: async (t) => {
        const shim = await t.start(t.bundle());
        if (!shim.socket.startsWith("/")) return t.skip("the socket has no file");
        equal("the mode of the socket for group and others", statSync(shim.socket).mode & 0o077, 0);
      },
    },
    {
      id: "SK-1.socket-dir",
      level: "should",
      title: "socket_dir of BootstrapParams is where the socket lies.",
      source: "pkg/shim/util_unix.go",
      body: async (t) => {
        // At most 42 bytes.
        const socketDir = `/run/${t.token}`;
        t.leaves(socketDir);
        mkdirSync(socketDir, { mode: 0o700 });
        const { address } = await t.startCall(t.bundle(), { dialect: dialects["2.4"], socketDir });
        holds(`a socket in ${socketDir}`, address.startsWith(`unix://${socketDir}/`), address);
      },
    },
    {
      id: "SK-2.stale",
      level: "must",
      title: "A socket that a killed shim has left does not make the next start fail.",
      source: "containerd#5597",
      body: async (t) => {
        const bundle = t.bundle();
        for (let n = 0; n < 3; n++) await (await t.start(bundle)).crash();
        await t.start(bundle);
      },
    },
    {
      id: "SK-2.not-a-socket",
      level: "should",
      title: "A plain file in the socket's place does not make a start fail.",
      source: "containerd#5597",
      body: async (t) => {
        const bundle = t.bundle();
        mkdirSync("/run/containerd/s", { recursive: true, mode: 0o700 });
        writeFileSync(t.expectedSocket(bundle.id), "");
        await t.start(bundle);
      },
    },
    {
      id: "SK-5.connections",
      level: "must",
      title: "Many connections are served at the same time.",
      source: "ttrpc/server.go",
      body: async (t) => {
        const shim = await t.start(t.bundle());
        const others = await Promise.all(Array.from({ length: 20 }, () => t.connect(shim.bundle, shim.found)));
        const pids = await Promise.all(others.map(async ({ task, id }) => (await task.connect(id)).shimPid));
        equal("the pids that they were told", new Set(pids), new Set([shim.pid]));
      },
    },
    {
      id: "SK-7.shutdown",
      level: "should",
      title: "A shim that ends in order removes its socket.",
      source: "pkg/shim/shim.go",
      body: async (t) => {
        const shim = await t.run();
        await shim.kill();
        await shim.finish();
        holds("the socket to be gone", !shim.hasSocket, `${shim.socket} is still there`);
      },
    },
    {
      id: "SK-7.debug",
      level: "should",
      title: "A shim that ends in order removes its debug socket too.",
      source: "pkg/shim/shim.go",
      body: async (t) => {
        const shim = await t.run({}, {}, { debug: true });
        await shim.kill();
        await shim.finish();
        const path = t.expectedSocket(shim.id, true);
        holds("the debug socket to be gone", !existsSync(path), `${path} is still there`);
      },
    },
    {
      id: "SK-7.unused",
      level: "must",
      title: "Shutdown of a shim that never got a container ends it.",
      source: "cmd/containerd-shim-runc-v2/task/service.go (Shutdown)",
      body: async (t) => {
        const shim = await t.start(t.bundle());
        await shim.task.shutdown(shim.id).catch(() => undefined);
        shim.task.connection.close();
        await shim.ended();
        holds("the socket to be gone", !shim.hasSocket, `${shim.socket} is still there`);
      },
    },
    {
      id: "PR-5.sigterm",
      level: "must",
      title: "SIGTERM to a shim without a container does not leave it hanging for a machine's shutdown.",
      source: "containerd#5502",
      body: async (t) => {
        const shim = await t.start(t.bundle());
        process.kill(shim.pid, "SIGTERM");
        await shim.ended(5000);
      },
    },
    ...survivedSignals,
    {
      id: "IN-1",
      level: "should",
      title: "-info answers with a RuntimeInfo that has a name and the features of the runtime.",
      source: "pkg/shim/shim.go, api/types/runtime_info.proto",
      body: async (t) => {
        const { options } = t.subject;
        const answer = await t.call(["-info"], options === undefined ? {} : { stdin: anyBytes(options) });
        holds("-info to end with status 0", answer.exitCode === 0, answer.stderr);
        const info = containerd.types.RuntimeInfo.decode(answer.stdout);
        holds("a name", (info.name ?? "") !== "", "none");
        if (info.features) {
          matches("the type URL of the features", info.features.type_url ?? "", /runtime-spec\/1\/features\/Features$/);
          JSON.parse(text(info.features.value ?? new Uint8Array()));
        }
      },
    },
    {
      id: "IN-2",
      level: "should",
      title: "The mounts that the shim makes itself are named in -info as a list of types, patterns allowed.",
      source: "core/runtime/v2/shim_manager.go (containerd.io/runtime-allow-mounts)",
      body: async (t) => {
        const { options } = t.subject;
        const answer = await t.call(["-info"], options === undefined ? {} : { stdin: anyBytes(options) });
        if (answer.exitCode !== 0) return t.skip("there is no -info");
        const { annotations } = containerd.types.RuntimeInfo.decode(answer.stdout);
        const list = annotations?.["containerd.io/runtime-allow-mounts"];
        if (list === undefined) return t.skip("the shim leaves all mounts but bind and overlay to containerd");
        for (const type of list.split(",")) matches("a type of mount", type, /^[a-z0-9*][a-z0-9.*/_-]*$/);
      },
    },
    {
      id: "IN-4",
      level: "should",
      title: "-v prints the version, without a namespace.",
      source: "pkg/shim/shim.go",
      body: async (t) => {
        const answer = await t.call(["-v"]);
        equal("the status", answer.exitCode, 0);
        matches("stdout", text(answer.stdout), /version/i);
      },
    },
    {
      id: "PR-11.idle",
      level: "should",
      title: "A shim whose container sleeps uses no processor time for two seconds.",
      source: "containerd#13558, rust-extensions#146",
      alone: true,
      body: async (t) => {
        const shim = await t.run();
        await Bun.sleep(500);
        const ticks = (): number => statField(shim.pid, 14) + statField(shim.pid, 15);
        const before = ticks();
        await Bun.sleep(2000);
        const used = ticks() - before;
        holds("at most 2 ticks of processor time", used <= 2, `${used} ticks`);
      },
    },
    {
      id: "PR-8.log",
      level: "must",
      title: "A shim goes on when nobody reads its log.",
      source: "containerd#4509, #4546",
      body: async (t) => {
        const shim = await t.run({}, {}, { debug: true });
        // The FIFO holds 64 kB; each refusal may be logged.
        for (let n = 0; n < 300; n++) await shim.task.state("nobody".repeat(12)).catch(() => undefined);
        equal("the status of the task", (await shim.task.state(shim.id)).status, "RUNNING");
      },
    },
  ],
};
