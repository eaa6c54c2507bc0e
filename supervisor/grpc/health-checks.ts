/** The service berth.v1.Health: the health of containers, for `berth inspect` and `berth healthcheck`. */

import type { Health, HealthRoom } from "../health/room.ts";
import type { Outcome } from "../health/standing.ts";
import type { Handlers } from "./server.ts";

export function healthChecksService(room: HealthRoom): Handlers<"berth.v1.Health"> {
  return {
    Get: ({ containerId }, { namespace }) => answerOf(room.get(namespace, containerId)),
    Run: async ({ containerId }, { namespace }) => answerOf(await room.check(namespace, containerId)),
  };
}

function answerOf({ status = "", streak, results }: { status?: string | undefined } & Omit<Health, "status">) {
  return { status, failingStreak: streak, results: results.map(resultOf) };
}

function resultOf({ result, exitCode, output, at, ms }: Outcome) {
  const startedAt = { seconds: Math.floor(at / 1000), nanos: (at % 1000) * 1_000_000 };
  return { startedAt, durationMs: ms, exitCode, result, output };
}
