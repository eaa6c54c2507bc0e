import { describe, expect, test } from "bun:test";
import { Code } from "../../../../proto/ttrpc/status.ts";
import { PAUSING, type State, statusNumber, transition, type Verb } from "../../../../shim/process/state.ts";

/** The table of style.md section 3, written anew: the next state, or undefined for FailedPrecondition. */
type Row = Partial<Record<State, State>>;
const init: Record<Verb, Row> = {
  start: { created: "running", checkpoint: "running" },
  pause: { running: "paused" },
  resume: { paused: "running" },
  exec: { created: "created", running: "running" },
  update: { created: "created", checkpoint: "checkpoint", running: "running", paused: "paused" },
  checkpoint: { running: "running", paused: "paused" },
  delete: { created: "deleted", checkpoint: "deleted", stopped: "deleted" },
  resize: { created: "created", checkpoint: "checkpoint", running: "running", paused: "paused", stopped: "stopped" },
};
const exec: Record<Verb, Row> = {
  start: { created: "running" },
  pause: {},
  resume: {},
  exec: {},
  update: {},
  checkpoint: {},
  delete: { created: "deleted", stopped: "deleted" },
  resize: { created: "created", running: "running" },
};
const states: readonly State[] = ["created", "checkpoint", "running", "paused", "stopped"];
const failed = expect.objectContaining({ code: Code.FailedPrecondition });

for (const [kind, table] of [
  ["init", init],
  ["exec", exec],
] as const) {
  describe(kind, () => {
    for (const verb of Object.keys(table) as Verb[]) {
      for (const state of states) {
        const next = table[verb][state];
        test(`${verb} in ${state}: ${next ?? "FailedPrecondition"}`, () => {
          if (next === undefined) expect(() => transition(kind, state, verb)).toThrow(failed);
          else expect(transition(kind, state, verb)).toBe(next);
        });
      }
      test(`${verb} when deleted: NotFound`, () => {
        expect(() => transition(kind, "deleted", verb)).toThrow(expect.objectContaining({ code: Code.NotFound }));
      });
    }
  });
}

test.each([
  ["init", "running", "start", "cannot start a running process"],
  ["init", "paused", "start", "cannot start a paused process"],
  ["init", "stopped", "start", "cannot start a stopped process"],
  ["init", "running", "delete", "cannot delete a running process"],
  ["init", "paused", "delete", "cannot delete a paused process"],
  ["init", "running", "resume", "cannot resume a running process"],
  ["init", "created", "pause", "cannot pause task in created state"],
  ["init", "paused", "exec", "cannot exec in a paused state"],
  ["init", "stopped", "exec", "cannot exec in a stopped state"],
  ["init", "checkpoint", "exec", "cannot exec in a created state"],
  ["init", "stopped", "checkpoint", "cannot checkpoint a stopped container"],
  ["exec", "running", "start", "cannot start a running process"],
  ["exec", "running", "delete", "cannot delete a running process"],
  ["exec", "stopped", "resize", "cannot resize a stopped container"],
] as const)("containerd's words: %s in %s, %s", (kind, state, verb, sentence) => {
  expect(() => transition(kind, state, verb)).toThrow(sentence);
});

test("T-STT-1 T-STT-3 the numbers of State", () => {
  const numbers = [...states, "deleted" as const].map((state) => [state, statusNumber(state)]);
  expect(Object.fromEntries(numbers)).toEqual({
    created: 1,
    checkpoint: 1,
    running: 2,
    stopped: 3,
    deleted: 3,
    paused: 4,
  });
  expect(PAUSING).toBe(5);
});
