import { afterAll, beforeEach, describe, expect, test } from "bun:test";
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { dist, root } from "../../../lib/paths.ts";
import { testUnless } from "../../../lib/skip.ts";

const base = mkdtempSync(join(tmpdir(), "berth-install-"));
chmodSync(base, 0o755);
let dir = "";
let count = 0;
beforeEach(() => {
  dir = join(base, `bin${++count}`);
});
afterAll(() => rmSync(base, { recursive: true }));

const berth = join(dist, "berth");

/** Runs `berth install` of the compiled executable, which installs itself. */
async function install(args: readonly string[], through: readonly string[] = [], path = "/usr/bin:/bin") {
  const child = Bun.spawn([...through, berth, "install", ...args], {
    cwd: base,
    env: { PATH: path },
    stdout: "pipe",
    stderr: "pipe",
  });
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  return { status: await child.exited, stdout, stderr };
}

const names = ["berth", "containerd-shim-berth-v2", "berthd"];

describe("install", () => {
  test("copies the executable and links the roles to it, in a directory that it makes", async () => {
    const deep = join(dir, "a/b");
    const { status, stdout, stderr } = await install(["--bin-dir", deep]);
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    expect(stdout).toStartWith(`installed\n${names.map((name) => join(deep, name)).join("\n")}\n`);
    expect(readdirSync(deep).sort()).toEqual(names.toSorted());
    expect(lstatSync(join(deep, "berth")).isFile()).toBe(true);
    expect(statSync(join(deep, "berth")).size).toBe(statSync(berth).size);
    expect(statSync(join(deep, "berth")).mode & 0o555).toBe(0o555);
    expect(readlinkSync(join(deep, names[1] ?? ""))).toBe("berth");
    const shim = Bun.spawnSync([join(deep, names[1] ?? ""), "--version"], { env: {} });
    expect(shim.stdout.toString()).toContain("io.containerd.berth.v2");
  });

  test("says when the directory is not in PATH, and only then", async () => {
    expect((await install(["--bin-dir", dir])).stdout).toContain("is not in PATH");
    expect((await install(["--bin-dir", dir], [], `/bin:${dir}`)).stdout).not.toContain("PATH");
  });

  test("a relative directory is one below the working directory", async () => {
    expect((await install(["--bin-dir", `bin${count}`])).stdout).toContain(join(dir, "berth"));
    expect(readdirSync(dir).sort()).toEqual(names.toSorted());
  });

  test("replaces an executable that is in use; who uses it goes on, and no moment has none", async () => {
    await install(["--bin-dir", dir]);
    const target = join(dir, "berth");
    const before = statSync(target).ino;
    const user = Bun.spawn([target, "shim", "-info"], {
      stdin: "pipe",
      stdout: "pipe",
      env: {},
    });
    let watching = true;
    let missing = 0;
    const watch = (async () => {
      for (; watching; await Bun.sleep(0)) {
        if (!existsSync(target) || statSync(join(dir, names[1] ?? "")).size !== statSync(berth).size) missing++;
      }
    })();
    const { status, stderr } = await install(["--bin-dir", dir]);
    watching = false;
    await watch;
    expect({ status, stderr, missing }).toEqual({ status: 0, stderr: "", missing: 0 });
    expect(statSync(target).ino).not.toBe(before);
    expect(readdirSync(dir).sort()).toEqual(names.toSorted());
    user.stdin.end();
    expect(await user.stdout.text()).toContain("io.containerd.berth.v2");
  });

  test("an older link, also one that leads nowhere, is replaced", async () => {
    mkdirSync(dir);
    symlinkSync("/nowhere", join(dir, names[1] ?? ""));
    writeFileSync(join(dir, "berth"), "old");
    expect((await install(["--bin-dir", dir])).status).toBe(0);
    expect(readlinkSync(join(dir, names[1] ?? ""))).toBe("berth");
  });
});

describe("install --systemd", () => {
  test("writes the unit of the berthd that it installs", async () => {
    const units = join(dir, "units");
    const config = ["--config", "/etc/berth/other.toml"];
    const { status, stdout } = await install(["--bin-dir", dir, "--systemd", "--systemd-dir", units, ...config]);
    expect(status).toBe(0);
    expect(stdout).toContain(join(units, "berthd.service"));
    const text = readFileSync(join(units, "berthd.service"), "utf8");
    expect(text).toContain(`\nExecStart=${join(dir, "berthd")} --config /etc/berth/other.toml\n`);
    // R22: containers are ended before the daemon, and only when the machine goes down.
    const containers = readFileSync(join(units, "berth-containers.service"), "utf8");
    expect(containers).toContain(`\nExecStop=-${join(dir, "berth")} shutdown --config /etc/berth/other.toml\n`);
    expect(containers).toContain("\nAfter=berthd.service\n");
    expect(containers).not.toMatch(/PartOf|BindsTo|Requires/);
    for (const line of ["KillMode=process", "Wants=berth-containers.service"]) expect(text).toContain(`\n${line}\n`);
  });

  const noSystemd = Bun.which("systemd-analyze") === null ? "systemd is not installed" : undefined;
  testUnless(noSystemd, "writes units that systemd has nothing to say about", async () => {
    const units = join(dir, "units");
    expect((await install(["--bin-dir", dir, "--systemd", "--systemd-dir", units])).status).toBe(0);
    const files = ["berthd.service", "berth-containers.service"].map((name) => join(units, name));
    const verify = Bun.spawnSync(["systemd-analyze", "verify", ...files], { env: { SYSTEMD_UNIT_PATH: `${units}:` } });
    expect(verify.stderr.toString()).not.toContain(units);
  });
});

describe("install --openrc", () => {
  test("writes a script that a shell can read, with the berthd that it installs", async () => {
    const scripts = join(dir, "init.d");
    const config = join(dir, "a $(b) c.toml");
    const { status, stdout } = await install([
      "--bin-dir",
      dir,
      "--openrc",
      "--openrc-dir",
      scripts,
      "--config",
      config,
    ]);
    expect(status).toBe(0);
    const script = join(scripts, "berthd");
    expect(stdout).toContain(`${script}\n`);
    expect(stdout).toContain("rc-update add berthd default");
    expect((statSync(script).mode & 0o777).toString(8)).toBe("755");
    // What the script says to the shell, and what it does when it is stopped: with and without a machine that goes down.
    const shell = (text: string, env = {}) => {
      const stubs = `need() { echo "need $*"; }; use() { :; }; after() { :; }; ebegin() { :; }; eend() { :; }
        yesno() { [ "$1" = YES ]; }`;
      const child = Bun.spawnSync(["sh", "-euc", `${stubs}; . "$0"; ${text}`, script], { env });
      return child.stdout.toString() + child.stderr.toString();
    };
    expect(shell('echo "$command"; eval "set -- $command_args"; echo "$2"; depend')).toBe(
      `${join(dir, "berthd")}\n${config}\nneed localmount\n`,
    );
    expect(shell("stop_pre")).toBe("");
    const down = shell("stop_pre", { RC_GOINGDOWN: "YES" });
    expect(down).toContain(`${config}`);
  });
});

describe("install that cannot be", () => {
  /** Runs in a mount namespace where the directory is a file system with these options. */
  const on = (options: string) => [
    ...["unshare", "-m", "sh", "-c"],
    `mount -t tmpfs -o ${options} tmpfs ${dir} && "$@"; status=$?; ls -A ${dir}; exit $status`,
    "sh",
  ];

  test("on a read-only file system says what to do", async () => {
    mkdirSync(dir);
    const { status, stdout, stderr } = await install(["--bin-dir", dir], on("ro"));
    expect(stderr).toBe(`berth install: cannot write to ${dir}: run it as root, or choose another --bin-dir\n`);
    expect({ status, stdout }).toEqual({ status: 1, stdout: "" });
  });

  test("by a user who may not says the same", async () => {
    mkdirSync(dir, { mode: 0o755 });
    // The program has to be reachable for that user, wherever it lies for us.
    const may = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"];
    const through = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", ...may];
    const { status, stderr } = await install(["--bin-dir", dir], through);
    expect(stderr).toBe(`berth install: cannot write to ${dir}: run it as root, or choose another --bin-dir\n`);
    expect(status).toBe(1);
    expect(readdirSync(dir)).toEqual([]);
  });

  test("on a full disk leaves nothing", async () => {
    mkdirSync(dir);
    const { status, stdout, stderr } = await install(["--bin-dir", dir], on("size=1m"));
    expect(stderr).toMatch(/^berth install: cannot write to \S+: .*(ENOSPC|no space left)/i);
    expect({ status, stdout }).toEqual({ status: 1, stdout: "" });
  });

  test("over a directory or below a file leaves things as they were", async () => {
    mkdirSync(join(dir, "berth/x"), { recursive: true });
    const over = await install(["--bin-dir", dir]);
    expect(over.status).toBe(1);
    expect(over.stderr).toContain(`cannot write to ${dir}`);
    expect(readdirSync(dir)).toEqual(["berth"]);
    writeFileSync(join(dir, "file"), "");
    expect((await install(["--bin-dir", join(dir, "file")])).status).toBe(1);
    expect(readFileSync(join(dir, "file"), "utf8")).toBe("");
  });

  test.each([[["--bindir", "/x"]], [["extra"]], [["--bin-dir"]]])("%j is a usage error", async (args) => {
    const { status, stdout, stderr } = await install(args);
    expect({ status, stdout }).toEqual({ status: 1, stdout: "" });
    expect(stderr).toContain("usage: berth install [--bin-dir DIR]");
  });
});

test("run from source it installs nothing, for it would install bun", async () => {
  const child = Bun.spawn([process.execPath, join(root, "shim/main.ts"), "install", "--bin-dir", dir], {
    stdout: "pipe",
    stderr: "pipe",
  });
  expect(await child.stderr.text()).toContain("npm run build");
  expect(await child.exited).toBe(1);
  expect(existsSync(dir)).toBe(false);
});
