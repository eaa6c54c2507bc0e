/** What starts berthd at boot: systemd and OpenRC themselves, each as it runs a machine of its own (R22). */

import { expect } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { run } from "../lib/command.ts";
import { imageName, writeImageArchive } from "../lib/image.ts";
import { findPackaged } from "../lib/packaged.ts";
import { dist, root, whyNoContainers } from "../lib/paths.ts";
import { processScope } from "../lib/scope.ts";
import { testUnless } from "../lib/skip.ts";
import { findTool } from "../lib/tools.ts";

const machine = findTool("with-cgroup2");
const openrc = machine === undefined ? new Error("") : await findPackaged("openrc", ["openrc", "libeinfo1", "librc1"]);
const skip =
  machine === undefined
    ? "no with-cgroup2 on this machine: only there is a machine to boot"
    : process.env["BERTH_TEST_MATRIX"]
      ? "the matrix is about kernels and daemons"
      : whyNoContainers();

/** What a machine runs, and how it asks for it. */
interface Machine {
  /** Prepares, boots, and after the machine has gone down boots it a second time; `first` and `second` are scripts. */
  readonly boots: (scripts: { readonly dir: string; readonly first: string; readonly second: string }) => string;
  readonly restart: string;
}

/** The first life: a restart and a crash of the daemon, then what goes down politely. */
const first = (dir: string, restart: string): string => `
until berth ps >/dev/null 2>&1; do sleep 0.2; done
berth load -q -i ${dir}/image.tar >/dev/null
run="berth run -d --network none --restart always"
$run --name web ${imageName} sleep 1000 >/dev/null
$run --name slow -v ${dir}/out:/out ${imageName} sh -c \\
  'trap "echo asked >> /out/said; sleep 1; echo ended >> /out/said; exit 0" TERM; while :; do sleep 0.1; done' >/dev/null
pid() { berth inspect --format '{{.State.Pid}}' web; }
daemon() { for p in /proc/[0-9]*; do [ "$(cat $p/comm 2>/dev/null)" = berthd ] && basename $p; done | tail -1; }
before=$(pid)
${restart} >/dev/null 2>&1
until berth ps >/dev/null 2>&1; do sleep 0.2; done
[ "$(pid)" = "$before" ] && echo "the same after a restart"
old=$(daemon); kill -9 $old
until [ -n "$(daemon)" ] && [ "$(daemon)" != "$old" ] && berth ps >/dev/null 2>&1; do sleep 0.2; done
[ "$(pid)" = "$before" ] && echo "the same after SIGKILL"
`;

/** The second life: everything runs again, and nothing is wrong. */
const second = (dir: string): string => `
until [ "$(berth ps --format '{{.Names}}' 2>/dev/null | sort | tr '\\n' ' ')" = "slow web " ]; do sleep 0.2; done
echo "both run again"
berth check >/dev/null && echo "nothing wrong"
cat ${dir}/out/said
`;

const systemd: Machine = {
  restart: "systemctl restart berthd",
  boots: (scripts) => `
${dist}/berth install --systemd >/dev/null
cat >/etc/systemd/system/life.service <<U
[Unit]
After=berthd.service
[Service]
Type=oneshot
ExecStart=/bin/bash ${scripts.dir}/life.sh
StandardOutput=append:${scripts.dir}/said
StandardError=append:${scripts.dir}/said
ExecStopPost=/bin/systemctl --no-block poweroff
TimeoutStartSec=100
U
cat >/etc/systemd/system/lives.target <<U
[Unit]
Wants=berthd.service life.service
After=basic.target
U
boot() {
  cp $1 ${scripts.dir}/life.sh
  container=vm unshare --pid --fork --mount --mount-proc --uts --ipc --propagation private \\
    /lib/systemd/systemd --system --unit=lives.target --log-target=console >>${scripts.dir}/console 2>&1
}
boot ${scripts.first}
# A machine that goes down forgets what was in memory.
rm -rf /run/berth
boot ${scripts.second}
cat ${scripts.dir}/said
`,
};

/** @param from where OpenRC was unpacked; empty when it is installed */
const rc = (from: string): Machine => ({
  restart: "rc-service berthd restart",
  boots: (scripts) => `
for part in sbin usr etc lib; do [ -n "${from}" ] && [ -d ${from}/$part ] && cp -a ${from}/$part/. /$part/; done
export PATH=/sbin:/usr/sbin:$PATH
${dist}/berth install --openrc >/dev/null
# Of the services that a distribution has, the one that ours needs; the state of a machine that is up.
find /etc/init.d -type f ! -name berthd -delete
printf '#!/sbin/openrc-run\\nstart() { :; }\\n' >/etc/init.d/localmount; chmod +x /etc/init.d/localmount
touch /etc/insserv.conf
mkdir -p /etc/runlevels/{default,shutdown,sysinit,boot}
mkdir -p /run/openrc/{starting,started,stopping,inactive,wasinactive,failed,hotplugged,daemons,options,exclusive,scheduled,tmp,init.d}
touch /run/openrc/softlevel
# supervise-daemon goes through all descriptors that may be: a million take this machine a minute.
mkdir -p /etc/conf.d; echo 'rc_ulimit="-n 4096"' >/etc/conf.d/berthd
{
  rc-update add berthd default
  openrc default
} >>${scripts.dir}/console 2>&1
bash ${scripts.first}
RC_RUNLEVEL=shutdown openrc shutdown >>${scripts.dir}/console 2>&1
rm -rf /run/berth
openrc default >>${scripts.dir}/console 2>&1
bash ${scripts.second}
`,
});

/** Boots it twice, and compares what it said. */
async function lives(name: string, { boots, restart }: Machine, share: readonly string[] = []): Promise<void> {
  const dir = join(processScope().dir, name);
  mkdirSync(join(dir, "out"), { recursive: true });
  writeImageArchive(join(dir, "image.tar"));
  const write = (file: string, text: string): string => {
    writeFileSync(join(dir, file), `export PATH=/usr/local/bin:$PATH\n${text}`);
    return join(dir, file);
  };
  const scripts = { dir, first: write("first.sh", first(dir, restart)), second: write("second.sh", second(dir)) };
  const all = write("all.sh", boots(scripts));
  const shares = [dir, root, ...share].flatMap((path) => ["--share", path]);
  const argv = [machine ?? "", "--timeout", "240", "--tmpfs", "/var/lib/berth", ...shares, "--", "bash", all];
  const { stdout, stderr } = await run(argv, { timeout: 260_000, cwd: dir });
  const said = stdout.split("\n").filter((line) => /^(the same|both|nothing|asked|ended)/.test(line));
  expect({ said, stderr: said.length === 6 ? "" : stdout + stderr }).toEqual({
    said: ["the same after a restart", "the same after SIGKILL", "both run again", "nothing wrong", "asked", "ended"],
    stderr: "",
  });
}

const noSystemd = Bun.which("systemctl") === null ? "systemd is not installed" : undefined;
testUnless(
  skip ?? noSystemd,
  "R22: under systemd, containers outlive the daemon, end in order with the machine, and run again after it",
  () => lives("systemd", systemd),
  300_000,
);

const from = openrc instanceof Error || openrc.startsWith("/sbin/") ? "" : dirname(dirname(openrc));
testUnless(
  skip ?? (openrc instanceof Error ? openrc.message : undefined),
  "R22: the same under OpenRC",
  () => lives("openrc", rc(from), from === "" ? [] : [from]),
  300_000,
);
