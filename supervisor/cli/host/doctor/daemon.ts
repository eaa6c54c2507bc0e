/** The daemon, and others that might be in its way. */

import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { messageOf } from "../../../../proto/errdefs.ts";
import { GrpcClient } from "../../../client/grpc.ts";
import { serverOf } from "../server.ts";
import { area, type Diagnosis, type Place } from "./check.ts";

const { ok, warn, fail } = area("daemon");
const ANSWER_MS = 5000;

export async function lookAtDaemon(place: Place): Promise<Diagnosis[]> {
  return [user(), await answers(place), permissions(place), ...others()];
}

function user(): Diagnosis {
  if (process.getuid?.() === 0) return ok("user", "root");
  return warn("user", "not root: not everything can be looked at", "run berth doctor as root");
}

async function answers({ address }: Place): Promise<Diagnosis> {
  const start =
    "systemctl start berthd (berth install --systemd makes the unit), or berthd in a terminal to see why it does not start";
  if (!existsSync(address)) return fail("socket", `${address} is not there: no daemon runs`, start);
  const api = new GrpcClient(address, { deadlineMs: ANSWER_MS });
  try {
    const { version, isBerthd } = await serverOf(api);
    return ok("answers", `${isBerthd ? "berthd" : "containerd"} ${version} at ${address}`);
  } catch (error) {
    return fail("answers", `nobody answers at ${address}: ${messageOf(error)}`, start);
  } finally {
    api.close();
  }
}

function permissions({ address }: Place): Diagnosis {
  try {
    const { mode } = statSync(address);
    const text = (mode & 0o777).toString(8).padStart(4, "0");
    if ((mode & 0o007) === 0) return ok("permissions", `${address} has mode ${text}`);
    return fail(
      "permissions",
      `${address} has mode ${text}: whoever may use it is root here`,
      `chmod o-rwx ${address}`,
    );
  } catch {
    return ok("permissions", "no socket");
  }
}

/** Names of processes that also manage containers. */
const known: Readonly<Record<string, string>> = {
  dockerd: "docker",
  containerd: "containerd",
  crio: "CRI-O",
  kubelet: "kubelet",
  podman: "podman",
};

/** They can run beside each other; what they share are names of bridges and rules of the packet filter. */
function others(): Diagnosis[] {
  const running = new Set<string>();
  for (const pid of readdirSync("/proc")) {
    if (!/^\d+$/.test(pid)) continue;
    try {
      const name = readFileSync(`/proc/${pid}/comm`, "utf8").trim();
      if (Object.hasOwn(known, name)) running.add(known[name] ?? name);
    } catch {
      // It has ended meanwhile.
    }
  }
  if (running.size === 0) return [ok("others", "no other container engine runs")];
  const names = [...running].sort().join(", ");
  if (!running.has("docker"))
    return [ok("others", `${names} runs here too: it has directories and a socket of its own`)];
  return [
    warn(
      "others",
      `${names} runs here too: docker sets the FORWARD chain of iptables to DROP, which may cut berth's networks off`,
      "give berth's networks other subnets than docker's, and let the firewall plugin add its rules (the default network does)",
    ),
  ];
}
