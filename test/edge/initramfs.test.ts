/** A machine that has nothing but an initramfs with berthd as process 1 (R20, R22): no other init, no udev, no disk. */

import { expect } from "bun:test";
import { chmodSync, cpSync, existsSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { run } from "../lib/command.ts";
import { imageName, writeImageArchive } from "../lib/image.ts";
import { dist, whyNoContainers } from "../lib/paths.ts";
import { processScope } from "../lib/scope.ts";
import { testUnless } from "../lib/skip.ts";
import { findTool } from "../lib/tools.ts";

/** Where with-cgroup2 keeps User-Mode Linux: the kernel, and the C library that it wants. */
async function findKernel(): Promise<string | Error> {
  const tool = findTool("with-cgroup2");
  if (tool === undefined) return new Error("no with-cgroup2 on this machine: it brings a kernel that can be booted");
  const { exitCode, stderr } = await run([tool, "--engine", "uml", "--prepare"], { timeout: 120_000 });
  if (exitCode !== 0) return new Error(`with-cgroup2 --prepare: ${stderr.trim()}`);
  const cache = process.env["CACHE_DIR"] ?? join(homedir(), ".cache/with-cgroup2");
  const found = readdirSync(cache).find((name) => existsSync(join(cache, name, "linux")));
  return found === undefined
    ? new Error(`no kernel in ${cache}: another with-cgroup2 than is known here`)
    : join(cache, found);
}

const kernel = process.env["BERTH_TEST_MATRIX"]
  ? new Error("the matrix is about kernels and daemons")
  : await findKernel();
const skip = kernel instanceof Error ? kernel.message : whyNoContainers();

/** What happens on the machine. Lines that begin with `@` are looked at. */
const play = `#!/bin/sh
export PATH=/bin:/sbin:/usr/bin:/usr/sbin
until berth ps >/dev/null 2>&1; do sleep 0.2; done
echo "@ process 1 is $(cat /proc/1/comm)"
berth load -q -i /image.tar >/dev/null
berth run --rm --network none ${imageName} echo "@ hello from a container"
berth run -d --network none --restart always --name web -v /said:/said ${imageName} sh -c \\
  'trap "echo @ asked to end > /said/it; exit 0" TERM; while :; do sleep 0.1; done' >/dev/null
pid() { berth inspect --format '{{.State.Pid}}' web; }
daemon() { for p in /proc/[0-9]*; do case "$(cat $p/cmdline 2>/dev/null)" in berthd*) basename $p;; esac; done | tail -1; }
before=$(pid) old=$(daemon)
for i in $(seq 20); do (sleep 0.1 &); done
kill -9 $old
until [ -n "$(daemon)" ] && [ "$(daemon)" != "$old" ] && berth ps >/dev/null 2>&1; do sleep 0.2; done
[ "$(pid)" = "$before" ] && echo "@ the same after SIGKILL of berthd"
grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null | grep -q . || echo "@ nobody waits to be reaped"
berth check >/dev/null && echo "@ nothing wrong"
(until [ -s /said/it ]; do sleep 0.05; done; cat /said/it > /dev/console) &
kill -USR2 1
`;

/** The first that the kernel runs. A shell in the background wants /dev/null, before berthd has made it. */
const first = `#!/bin/sh
mount -t proc proc /proc
mknod -m 666 /dev/null c 1 3
/play &
exec /bin/berthd
`;

/** The machine's whole file system, as a cpio archive. @returns its path */
async function makeInitramfs(dir: string): Promise<string> {
  const tree = join(dir, "tree");
  const runc = Bun.which("runc") ?? "";
  const busybox = Bun.which("busybox") ?? "";
  const berth = join(dist, "berth");
  for (const path of ["bin", "sbin", "etc/berth", "proc", "sys", "dev", "tmp", "run", "var/lib", "said"]) {
    mkdirSync(join(tree, path), { recursive: true });
  }
  cpSync(busybox, join(tree, "bin/busybox"));
  for (const name of (await run([busybox, "--list"], { check: true })).stdout.split("\n").filter(Boolean)) {
    if (name !== "busybox") symlinkSync("busybox", join(tree, "bin", name));
  }
  cpSync(berth, join(tree, "bin/berth"));
  for (const name of ["berthd", "containerd-shim-berth-v2"]) symlinkSync("berth", join(tree, "bin", name));
  cpSync(runc, join(tree, "sbin/runc"));
  const { stdout } = await run(["ldd", berth, runc], { check: true });
  for (const path of new Set(stdout.match(/\/\S+\.so[.\d]*/g))) {
    mkdirSync(join(tree, dirname(path)), { recursive: true });
    cpSync(path, join(tree, path), { dereference: true });
  }
  writeImageArchive(join(tree, "image.tar"));
  // This kernel has overlayfs as a module, which is not here.
  writeFileSync(join(tree, "etc/berth/config.toml"), '[snapshotter]\ndefault = "native"\n');
  for (const [name, text] of [
    ["play", play],
    ["init", first],
  ] as const) {
    writeFileSync(join(tree, name), text);
    chmodSync(join(tree, name), 0o755);
  }
  const archive = join(dir, "initramfs");
  await run(["sh", "-c", `cd ${tree} && find . | ${busybox} cpio -o -H newc > ${archive} 2>/dev/null`], {
    check: true,
  });
  return archive;
}

/** Boots User-Mode Linux with a root of its own, in namespaces that end with us. */
function boot(place: string, dir: string, initramfs: string) {
  const cell = join(dir, "cell");
  const script = `
set -eu
mkdir ${cell}
mount -t tmpfs cell ${cell}
mkdir -p ${cell}/lib64 ${cell}/lib/x86_64-linux-gnu ${cell}/proc ${cell}/dev ${cell}/tmp
cp ${place}/lib/ld-linux* ${cell}/lib64/
cp ${place}/lib/lib* ${cell}/lib/x86_64-linux-gnu/
cp ${place}/linux ${initramfs} ${cell}/
mount --rbind /dev ${cell}/dev
mount -t proc proc ${cell}/proc
TMPDIR=/dev/shm HOME=/tmp exec chroot ${cell} /linux mem=1G initrd=/initramfs seccomp=auto uml_dir=/tmp \\
  con=null con0=null,fd:1 ssl=null console=tty0 initcall_blacklist=raid6_init quiet
`;
  const argv = [
    "unshare",
    "--mount",
    "--pid",
    "--fork",
    "--kill-child",
    "--propagation",
    "private",
    "sh",
    "-c",
    script,
  ];
  return run(argv, { timeout: 120_000, cwd: dir });
}

testUnless(
  skip,
  "R20 R22: berthd is process 1 of an initramfs, outlives its daemon, reaps, and ends the machine in order",
  async () => {
    const dir = join(processScope().dir, "initramfs");
    mkdirSync(dir);
    const { stdout, stderr } = await boot(kernel as string, dir, await makeInitramfs(dir));
    const said = stdout
      .split(/\r?\n/)
      .filter((line) => line.startsWith("@ "))
      .map((line) => line.slice(2));
    const expected = [
      "process 1 is berth-init",
      "hello from a container",
      "the same after SIGKILL of berthd",
      "nobody waits to be reaped",
      "nothing wrong",
      "asked to end",
    ];
    expect({ said, output: said.length === expected.length ? "" : stdout + stderr }).toEqual({
      said: expected,
      output: "",
    });
    expect(stdout).toContain("reboot: Power down");
  },
  150_000,
);
