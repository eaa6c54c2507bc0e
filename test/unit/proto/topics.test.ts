import { expect, test } from "bun:test";
import { containerd } from "../../../proto/gen/shim.js";
import { topics } from "../../../proto/topics.ts";

test("every topic of contract 1.9, each with a message that exists", () => {
  expect(Object.keys(topics).sort()).toEqual(
    ["checkpointed", "create", "delete", "exec-added", "exec-started", "exit", "oom", "paused", "resumed", "start"].map(
      (name) => `/tasks/${name}`,
    ),
  );
  const messages = containerd.events as unknown as Record<string, { encode?: unknown }>;
  for (const name of Object.values(topics)) expect(typeof messages[name]?.encode).toBe("function");
});
