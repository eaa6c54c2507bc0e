/** The rows about containers, tasks, sandboxes and the daemon itself. */

import { writeFileSync } from "node:fs";
import type { Result } from "../lib/command.ts";
import { waitFor } from "../lib/wait.ts";
import { names } from "./archives.ts";
import type { Comparison } from "./compare.ts";
import type { Rule } from "./normalise.ts";
import type { Side } from "./side.ts";

const image = names.busybox;

/** The pid of a task, in tables. */
const pids: Rule = [/\b\d{2,7}\b/g, "PID"];

/** The FIFO is the container's own stderr, and so runc's: what runc says as it fails is there besides in the error. */
const runcWords = {
  lines: /^(runc create|exec) failed: unable to start container process/,
  why: "runc's own words of a failure are on stderr too",
};

/** `ctr run` with what every side needs of its own. */
function runOf(side: Side, id: string, command: readonly string[], flags: readonly string[] = ["--rm"]): string[] {
  return ["run", "--fifo-dir", side.daemon.fifoDir, ...flags, image, id, ...command];
}

/** A command that stays a moment: on a busy machine containerd's side loses the last words of one that ends at once. */
function staying(script: string): string[] {
  return ["sh", "-c", `${script}; status=$?; sleep 0.3; exit $status`];
}

function execOf(side: Side, id: string, command: readonly string[], flags: readonly string[] = []): string[] {
  return ["tasks", "exec", "--fifo-dir", side.daemon.fifoDir, "--exec-id", "x", ...flags, id, ...command];
}

/** ctr on a terminal, by script(1), which is where its output and status come from. */
async function onTerminal(side: Side, args: readonly string[], input = ""): Promise<Result> {
  const quoted = side
    .command(args)
    .map((word) => `'${word.replaceAll("'", "'\\''")}'`)
    .join(" ");
  const begun = performance.now();
  const child = Bun.spawn(["timeout", "20", "script", "-qec", quoted, "/dev/null"], {
    stdin: "pipe",
    stdout: "pipe",
    stderr: "pipe",
    env: side.env,
  });
  await Bun.sleep(700);
  child.stdin.write(input);
  await child.stdin.flush();
  const exitCode = await child.exited;
  await child.stdin.end();
  const [shown, stderr] = [await new Response(child.stdout).text(), await new Response(child.stderr).text()];
  // ctr asks for a size again when its task may have ended already.
  const stdout = shown.replace(/^.*resize pty.*\n/gm, "");
  return { exitCode, stdout, stderr, timedOut: exitCode === 124, ms: performance.now() - begun };
}

async function untilStatus(side: Side, id: string, status: string): Promise<void> {
  const shown = async (): Promise<boolean> => {
    const { stdout } = await side.ctr(["tasks", "ls"]);
    return new RegExp(`^${id}\\s.*${status}`, "m").test(stdout);
  };
  await waitFor(`${id} to be ${status}`, shown, { timeout: 5_000, interval: 50 });
}

/** Containers without tasks, and `ctr run` in its forms. */
export async function containers(t: Comparison): Promise<void> {
  await t.row("containers create", async () => {
    await t.ctr(["containers", "create", image, "made", "sleep", "100"]);
    await t.ctr(["containers", "create", image, "made", "sleep", "100"]);
    await t.ctr([
      "containers",
      "create",
      "--label",
      "colour=blue",
      "--env",
      "A=B",
      "--cwd",
      "/tmp",
      image,
      "labelled",
      "env",
    ]);
    await t.ctr(["containers", "create", "example.com/none:1", "never"]);
    await t.ctr(["containers", "create", image, "bad id"]);
    await t.ctr(["containers", "create", image, "x".repeat(100)]);
    await t.ctr(["containers", "create", "--runtime", "io.containerd.nosuch.v2", image, "otherruntime"]);
  });
  await t.row("containers ls", async () => {
    await t.ctr(["containers", "ls"]);
    await t.ctr(["containers", "ls", "-q"]);
    await t.ctr(["containers", "ls", "labels.colour==blue"]);
    await t.ctr(["containers", "ls", "id~=^made|label"]);
    await t.ctr(["containers", "ls", "runtime.name==none"]);
  });
  await t.row("containers info", async () => {
    await t.ctr(["containers", "info", "labelled"]);
    await t.ctr(["containers", "info", "--spec", "made"]);
    await t.ctr(["containers", "info", "none"]);
  });
  await t.row("containers label", async () => {
    await t.ctr(["containers", "label", "made", "colour=red", "empty="]);
    await t.ctr(["containers", "label", "none", "colour=red"]);
    await t.ctr(["containers", "label", "made", `long=${"x".repeat(5000)}`]);
    await t.ctr(["containers", "info", "made"]);
  });
  await t.row("containers rm", async () => {
    await t.ctr(["containers", "rm", "labelled"]);
    await t.ctr(["containers", "rm", "none"]);
    await t.ctr(["snapshots", "label", "otherruntime", "containerd.io/gc.root=yes"]);
    await t.ctr(["containers", "rm", "--keep-snapshot", "otherruntime"]);
    await t.ctr(["snapshots", "rm", "otherruntime"]);
    await t.ctr(["containers", "ls", "-q"]);
    await t.ctr(["snapshots", "ls"]);
  });
  await t.row("run --rm", async () => {
    await t.ctr((s) => runOf(s, "r1", staying("echo hello")));
    await t.ctr((s) => runOf(s, "r2", staying("echo out; echo err >&2; (exit 42)")));
    await t.ctr((s) => runOf(s, "r3", ["cat"]), { stdin: "what goes in\n", holdStdin: () => Bun.sleep(1_500) });
    await t.ctr((s) => runOf(s, "r5", ["sh", "-c", "kill -9 $$"]));
    await t.ctr((s) => runOf(s, "r6", staying("env"), ["--rm", "--env", "COLOUR=green", "--cwd", "/tmp"]), {
      unordered: true,
    });
    await t.ctr((s) => ["run", "--fifo-dir", s.daemon.fifoDir, "--rm", "example.com/none:1", "r7", "true"]);
    await t.ctr((s) => [
      "run",
      "--fifo-dir",
      s.daemon.fifoDir,
      "--rm",
      names.layers,
      "r8",
      ...staying("ls -l /root /var; cat /etc/group"),
    ]);
    await t.ctr(["containers", "ls", "-q"]);
    await t.ctr(["snapshots", "ls"]);
  });
  await t.row("run, no such command", async () => {
    await t.ctr((s) => runOf(s, "r4", ["no-such-command"]), { known: runcWords });
    await t.ctr(["containers", "ls", "-q"]);
  });
  await t.row("run, flags", async () => {
    await t.ctr(
      (s) => runOf(s, "f1", staying("cat /proc/self/status"), ["--rm", "--read-only", "--memory-limit", "33554432"]),
      {
        view: (text) =>
          text
            .split("\n")
            .filter((line) => /^(Cap|Seccomp|NoNew)/.test(line))
            .join("\n"),
      },
    );
    await t.ctr((s) => runOf(s, "f2", ["sh", "-c", "touch /x; sleep 0.3"], ["--rm", "--read-only"]));
    await t.ctr((s) => runOf(s, "f3", staying("id"), ["--rm", "--privileged"]));
    if (t.atLeast("1.7")) await t.ctr((s) => runOf(s, "f4", staying("id"), ["--rm", "--user", "user"]));
    await t.ctr((s) => runOf(s, "f5", ["true"], ["--rm", "--snapshotter", "native"]));
    await t.ctr((s) => runOf(s, "f6", ["true"], ["--rm", "--runtime", "io.containerd.nosuch.v2"]));
    await t.ctr((s) => runOf(s, "f7", ["true"], ["--rm", "--snapshotter", "nosuch"]));
    await t.ctr((s) => runOf(s, "f8", staying("echo to a file"), ["--rm", "--log-uri", `file://${s.file("log")}`]));
    await t.ctr((s) =>
      runOf(s, "f9", staying("cat /mnt/x"), ["--rm", "--mount", `type=bind,src=${s.files},dst=/mnt,options=rbind:ro`]),
    );
  });
  await t.row("run -t", async () => {
    const tty = (id: string, command: string[], input = ""): Promise<unknown> =>
      t.both((s) => onTerminal(s, runOf(s, id, command, ["--rm", "-t"]), input), `run -t ${command.join(" ")}`);
    await tty("t1", ["sh", "-c", "tty; sleep 0.5; exit 7"]);
    await tty("t2", ["sh", "-c", "read line; echo got $line; sleep 0.3"], "typed\n");
  });
  await t.row(
    "run -d",
    async () => {
      await t.ctr((s) => runOf(s, "d1", ["sleep", "1000"], ["-d", "--null-io"]));
      await t.ctr((s) => runOf(s, "d1", ["sleep", "1000"], ["-d", "--null-io"]));
      await t.ctr((s) => runOf(s, "d2", ["sh", "-c", "exit 3"], ["-d", "--null-io"]));
      await Promise.all(t.sides.map((s) => untilStatus(s, "d2", "STOPPED")));
      await t.ctr(["tasks", "ls"], { rules: [pids], unordered: true });
      await t.ctr(["tasks", "rm", "d2"]);
      await t.ctr(["containers", "rm", "d2"]);
    },
    { settle: 300 },
  );
}

/** Tasks, on the container d1 that sleeps. */
export async function tasks(t: Comparison): Promise<void> {
  await t.row("tasks ls", async () => {
    await t.ctr(["tasks", "ls"], { rules: [pids], unordered: true });
    await t.ctr(["tasks", "ls", "-q"], { unordered: true });
  });
  await t.row("tasks start", async () => {
    await t.ctr((s) => ["tasks", "start", "-d", "--null-io", "--fifo-dir", s.daemon.fifoDir, "made"]);
    await t.ctr((s) => ["tasks", "start", "-d", "--null-io", "--fifo-dir", s.daemon.fifoDir, "made"]);
    await t.ctr(["tasks", "start", "none"]);
    await t.ctr(["tasks", "ls"], { rules: [pids], unordered: true });
  });
  await t.row("tasks ps", async () => {
    await t.ctr(["tasks", "ps", "d1"], { numbers: true });
    await t.ctr(["tasks", "ps", "none"]);
  });
  await t.row("tasks exec, no such command", async () => {
    await t.ctr((s) => execOf(s, "d1", ["no-such-command"]), { known: runcWords });
  });
  await t.row(
    "tasks exec",
    async () => {
      await t.ctr((s) => execOf(s, "d1", staying("echo from an exec")));
      await t.ctr((s) => execOf(s, "d1", staying("echo err >&2; (exit 9)")));
      await t.ctr((s) => execOf(s, "d1", ["cat"]), { stdin: "in\n", holdStdin: () => Bun.sleep(1_500) });
      await t.ctr((s) => execOf(s, "d1", ["sh", "-c", "id; sleep 0.3"], ["--user", "1000:1000", "--cwd", "/tmp"]));
      await t.ctr((s) => execOf(s, "none", ["true"]));
      await t.ctr((s) => execOf(s, "d1", ["sleep", "2000"], ["--detach"]));
      await t.ctr((s) => execOf(s, "d1", ["sleep", "2000"], ["--detach"]));
      await t.ctr(["tasks", "kill", "--exec-id", "x", "--signal", "SIGKILL", "d1"]);
      await t.ctr(["tasks", "rm", "--exec-id", "x", "d1"]);
      await t.ctr(["tasks", "kill", "--exec-id", "none", "d1"]);
      await t.both(
        (s) => onTerminal(s, execOf(s, "d1", ["sh", "-c", "tty; sleep 0.5; exit 5"], ["-t"])),
        "tasks exec -t",
      );
    },
    { settle: 300 },
  );
  await t.row("tasks metrics", async () => {
    await t.ctr(["tasks", "metrics", "d1"], { view: withoutValues });
    await t.ctr(["tasks", "metrics", "--format", "json", "d1"], { view: withoutValues });
    await t.ctr(["tasks", "metrics", "none"]);
  });
  await t.row("tasks pause, resume", async () => {
    await t.ctr(["tasks", "pause", "d1"]);
    await t.ctr(["tasks", "ls"], { rules: [pids], unordered: true });
    await t.ctr(["tasks", "pause", "d1"]);
    await t.ctr((s) => execOf(s, "d1", ["true"]));
    await t.ctr(["tasks", "resume", "d1"]);
    await t.ctr(["tasks", "resume", "d1"]);
    await t.ctr(["tasks", "pause", "none"]);
    await t.ctr(["tasks", "resume", "none"]);
  });
  await t.row(
    "tasks attach",
    async () => {
      const attached = t.sides.map((s) => s.ctr(["tasks", "attach", "made"], { timeout: 15_000 }));
      await Bun.sleep(800);
      await t.ctr(["tasks", "kill", "--signal", "SIGKILL", "made"]);
      const results = await Promise.all(attached);
      t.check("tasks attach made", results);
      await t.ctr(["tasks", "attach", "none"]);
    },
    { settle: 300 },
  );
  await t.row("tasks checkpoint", async () => {
    await t.ctr(["tasks", "checkpoint", "none"]);
  });
  await t.row(
    "tasks rm",
    async () => {
      await t.ctr(["tasks", "rm", "d1"]);
      await t.ctr(["containers", "rm", "d1"]);
      await t.ctr(["tasks", "ls"], { rules: [pids], unordered: true });
      await t.ctr(["tasks", "rm", "none"]);
    },
    { settle: 300 },
  );
  await t.row(
    "tasks kill",
    async () => {
      await t.ctr(["tasks", "kill", "none"]);
      await t.ctr(["tasks", "kill", "--signal", "NOSIGNAL", "d1"]);
      await t.ctr(["tasks", "kill", "--signal", "SIGKILL", "d1"]);
      await Promise.all(t.sides.map((s) => untilStatus(s, "d1", "STOPPED").catch(() => {})));
      await t.ctr(["tasks", "kill", "d1"]);
      await t.ctr(["tasks", "rm", "d1"]);
      await t.ctr(["containers", "rm", "d1"]);
      await t.ctr(["containers", "ls", "-q"]);
    },
    { settle: 300 },
  );
  await t.row(
    "tasks rm --force",
    async () => {
      await t.ctr((s) => runOf(s, "d3", ["sleep", "1000"], ["-d", "--null-io"]));
      await t.ctr(["tasks", "rm", "--force", "d3"]);
      await t.ctr(["containers", "rm", "d3"]);
    },
    { settle: 300 },
  );
  await t.row(
    "containers checkpoint, restore",
    async () => {
      await t.ctr((s) => runOf(s, "c1", ["sh", "-c", "echo written > /file; sleep 1000"], ["-d", "--null-io"]));
      await Bun.sleep(300);
      const options = { rules: [[/sha256:[0-9a-f]{64}/g, "sha256:DIGEST"] as Rule] };
      await t.ctr(["containers", "checkpoint", "--rw", "--image", "c1", "example.com/checkpoint:1"], options);
      await t.ctr(["containers", "checkpoint", "none", "example.com/never:1"]);
      await t.ctr(["tasks", "rm", "--force", "c1"]);
      await t.ctr(["containers", "rm", "c1"]);
      await t.ctr(["containers", "restore", "--rw", "c2", "example.com/checkpoint:1"], options);
      await t.ctr(["containers", "restore", "c3", "example.com/none:1"]);
      await t.ctr(["tasks", "rm", "--force", "c2"], options);
      await t.ctr(["containers", "rm", "c2"], options);
      await t.ctr(["images", "rm", "--sync", "example.com/checkpoint:1"]);
    },
    { settle: 300, anyOrder: true },
  );
}

/** What the daemon says of itself, sandboxes, and the shim behind its back. */
export async function daemon(t: Comparison): Promise<void> {
  const version: Rule[] = [
    [/(Server:\n)[\s\S]*?(?=\n\n|$)/, "$1 SERVER"],
    [/WARNING: (?:version and revision|version|revision) mismatch\n?/g, ""],
    [/ID: UUID|UUID: .*/g, "ID"],
  ];
  await t.row("version", async () => {
    await t.ctr(["version"], { rules: version });
  });
  await t.row("plugins ls", async () => {
    // Every version has a list of its own: the form is compared, and what all of them have and clients look for.
    await t.ctr(["plugins", "ls"], {
      view: (text) =>
        text
          .split("\n")
          .filter((line) => /^TYPE|services?\.v1|snapshotter.*(overlayfs|native)\b/.test(line))
          .filter((line) => /^TYPE|io.containerd.snapshotter.v1/.test(line))
          .join("\n"),
    });
    await t.ctr(["plugins", "ls", "-d", "id==overlayfs"], {
      view: (text) =>
        text
          .split("\n")
          .filter((line) => /^(Type|ID|Platforms)/.test(line))
          .join("\n"),
    });
    await t.ctr(["plugins", "ls", "id==none"]);
  });
  if (t.atLeast("1.7")) {
    await t.row("info", async () => {
      await t.ctr(["info"], { rules: [[/"(pid|pidns)": \d+/g, '"$1": N']] });
    });
    await t.row("deprecations list", async () => {
      await t.ctr(["deprecations", "list"]);
    });
    await t.row("sandboxes", async () => {
      await t.ctr(["sandboxes", "ls"]);
      await t.ctr(["sandboxes", "rm", "none"]);
    });
  }
  if (t.atLeast("2.1")) {
    await t.row("plugins inspect-runtime", async () => {
      await t.ctr(["plugins", "inspect-runtime"], {
        view: (text) => {
          const seen = JSON.parse(text || "{}") as Record<string, unknown>;
          return JSON.stringify(Object.keys(seen).sort());
        },
      });
      await t.ctr(["plugins", "inspect-runtime", "--runtime", "io.containerd.nosuch.v2"]);
    });
  }
  await t.row(
    "shim",
    async () => {
      await t.ctr((s) => runOf(s, "s1", ["sleep", "1000"], ["-d", "--null-io"]));
      await t.ctr(["shim", "--id", "s1", "state"], {
        rules: [
          [/"pid": ?\d+/g, '"pid": N'],
          [/^.*(pid|bundle).*$/gm, "OWN"],
        ],
      });
      await t.ctr(["shim", "--id", "none", "state"]);
      await t.ctr(["tasks", "rm", "--force", "s1"]);
      await t.ctr(["containers", "rm", "s1"]);
    },
    { settle: 300 },
  );
  await t.row("events", async () => {
    for (const side of t.sides) writeFileSync(side.file("mark"), "");
    const filtered = t.sides.map((s) => s.ctr(["events", 'topic=="/images/create"'], { timeout: 2_500 }));
    await Bun.sleep(600);
    await t.ctr(["images", "tag", names.busybox, "example.com/seen:1"]);
    await t.ctr(["images", "rm", "example.com/seen:1"]);
    const ended = await Promise.all(filtered);
    t.check(
      "events topic==/images/create",
      ended.map((one) => ({ ...one, exitCode: 0, timedOut: false })),
    );
    await t.ctr(["events", "topic~~["]);
  });
}

/** What a metric is called, without what it is. */
function withoutValues(text: string): string {
  if (text.startsWith("{")) return JSON.stringify(shape(JSON.parse(text)));
  return text
    .split("\n")
    .filter((line) => !/^TIMESTAMP/.test(line))
    .map((line) => line.replace(/\s+(?:[\d.]+|\[[\d ,]*\])\s*$/, " N"))
    .join("\n");
}

/** A value's keys and types; a list counts by what is in it, since there is one entry for each processor. */
function shape(value: unknown): unknown {
  if (Array.isArray(value)) return [...new Set(value.map((one) => JSON.stringify(shape(one))))];
  if (typeof value !== "object" || value === null) return typeof value;
  // What is zero is left out, and these are now and then.
  const steady = Object.entries(value).filter(([key]) => !/^(user|kernel|throttling|io_.*)$/.test(key));
  return Object.fromEntries(steady.map(([key, inner]) => [key, shape(inner)]));
}
