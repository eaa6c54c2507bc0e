/** A clock that jumps by ten years, for real: in a machine of its own, whose clock nobody else goes by (R30). */

import { expect } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { builtBerthd } from "../lib/berthd.ts";
import { run } from "../lib/command.ts";
import { writeImageArchive } from "../lib/image.ts";
import { dist, root, whyNoContainers } from "../lib/paths.ts";
import { processScope } from "../lib/scope.ts";
import { testUnless } from "../lib/skip.ts";
import { findTool } from "../lib/tools.ts";

const machine = findTool("with-cgroup2");
const skip =
  machine === undefined
    ? "no with-cgroup2 on this machine: only there is a clock that may be set"
    : process.env["BERTH_TEST_MATRIX"]
      ? "the matrix is about kernels and daemons"
      : whyNoContainers();

/** What runs in the machine: one container that is checked, one that ends again and again, and two jumps. */
function script(archive: string): string {
  const restart = "--label containerd.io/restart.status=running --label containerd.io/restart.policy=always";
  const health = JSON.stringify({ test: ["CMD", "true"], interval: 500, start_period: 60_000, action: "restart" });
  return `
d=/tmp/node; mkdir -p $d; export PATH=${dist}:$PATH
${builtBerthd} --root $d/root --state $d/state --address $d/b.sock >$d/log 2>&1 &
until grep -q "berthd is ready" $d/log; do sleep 0.1; done
c="ctr --address $d/b.sock"
$c images import ${archive} >/dev/null
$c run -d --null-io ${restart} --label 'berth/health=${health}' localhost/berth-test:latest web sleep 1000
$c run -d --null-io ${restart} localhost/berth-test:latest crash sh -c 'sleep 0.2; exit 1'
pid() { $c tasks ls | awk '$1 == "web" {print $2}'; }
restarts() { grep -c 'restarted container.*id=crash' $d/log; }
checks() { curl -s --unix-socket $d/state/debug.sock http://b/v1/metrics | awk '/^berth_health_checks_total.*success/ {print $2}'; }
until [ "$(checks)" -ge 2 ] && [ "$(restarts)" -ge 1 ]; do sleep 0.2; done
echo "pid $(pid)"
for to in 2036-11-30 2016-01-01; do
  date -s "$to 00:00:00" >/dev/null
  n=$(checks) r=$(restarts)
  until [ "$(checks)" -ge $((n + 3)) ]; do sleep 0.2; done
  echo "pid $(pid) year $(date +%Y) storm $(($(restarts) - r > 8))"
done
grep -c 'id=web.*unhealthy' $d/log
`;
}

testUnless(
  skip,
  "R30: neither checks, waits nor containers notice a clock that jumps ten years ahead and twenty back",
  async () => {
    const { dir } = processScope();
    const [archive, file] = [join(dir, "image.tar"), join(dir, "clock.sh")];
    writeImageArchive(archive);
    writeFileSync(file, script(archive));
    const share = ["--share", dir, "--share", root];
    const argv = [machine ?? "", "--timeout", "280", ...share, "--", "bash", file];
    const result = await run(argv, { timeout: 300_000, cwd: dir });
    const lines = result.stdout.trim().split("\n");
    const pid = /^pid (\d+)$/.exec(lines[0] ?? "")?.[1];
    expect(pid).toBeDefined();
    expect(lines.slice(1)).toEqual([`pid ${pid} year 2036 storm 0`, `pid ${pid} year 2016 storm 0`, "0"]);
  },
  310_000,
);
