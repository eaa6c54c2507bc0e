/** A container in one piece, as lists show it. */

import { describe, expect, test } from "bun:test";
import { statusText, summaryOf } from "../../../../../supervisor/cli/container/summary.ts";
import type { TaskState } from "../../../../../supervisor/container/task.ts";

const kept = { "containerd.io/restart.status": "running" };
const stopped = {
  ...{ id: "c", pid: 7, status: "stopped", exitStatus: 1, exitedAt: new Date(0) },
  ...{ stdin: "", stdout: "", stderr: "", terminal: false },
} as const satisfies TaskState;

function stateOf(labels: Record<string, string>, task?: TaskState): string {
  return summaryOf({ id: "c", image: "i", labels: { ...kept, ...labels } }, task).state;
}

describe("a container that ended", () => {
  test("is restarting while its policy has a start left for it", () => {
    expect(stateOf({ "containerd.io/restart.policy": "always" }, stopped)).toBe("restarting");
    expect(stateOf({ "containerd.io/restart.policy": "on-failure:3" }, stopped)).toBe("restarting");
  });

  test("has exited once its policy has given up", () => {
    const labels = { "containerd.io/restart.policy": "on-failure:3", "containerd.io/restart.count": "3" };
    expect(stateOf(labels, stopped)).toBe("exited");
    expect(statusText(summaryOf({ id: "c", labels: { ...kept, ...labels } }, stopped))).toStartWith("Exited (1)");
  });

  test("has exited where it was stopped by hand, or ended well and is restarted on failure only", () => {
    const byHand = { "containerd.io/restart.explicitly-stopped": "true" };
    expect(stateOf({ "containerd.io/restart.policy": "unless-stopped", ...byHand }, stopped)).toBe("exited");
    expect(stateOf({ "containerd.io/restart.policy": "on-failure" }, { ...stopped, exitStatus: 0 })).toBe("exited");
  });

  test("is known by its note when its task is gone", () => {
    const policy = { "containerd.io/restart.policy": "on-failure:3" };
    const gone = { "berth/last-exit": "1", "berth/exit-status": "1" };
    expect(stateOf({ ...policy, ...gone })).toBe("restarting");
    expect(stateOf({ ...policy, ...gone, "containerd.io/restart.count": "3" })).toBe("exited");
  });
});
