/** A part of the mutation suite: a fault of each kind of hook, and none. `npm run test:mutation` runs all. */

import { afterAll, expect } from "bun:test";
import { shimSuite } from "../lib/shim.ts";
import { findFault, none, plain } from "../mutation/faults/index.ts";
import { controls, judge, removeRuns } from "../mutation/kit.ts";

const { test } = shimSuite();
/** Of each hook one: call, answer, serving, standIn, rpc, frame, chunk, event. */
const faults = [
  "two dashes are refused",
  "start warns on stderr",
  "anyone may connect",
  "SIGUSR1 ends the shim",
  "State of what is not there is Unknown",
  "responses have a flag",
  "an unknown type of frame ends the connection",
  "TaskExit is sent twice",
  "a zombie stays",
  "delete leaves a mount",
];

afterAll(() => {
  removeRuns();
});

for (const fault of [plain, none]) {
  test(`${fault.name}: nothing is found`, async () => {
    expect((await judge(fault, { checks: controls })).wrong).toEqual([]);
  });
}

for (const name of faults) {
  test(`${name}: found by the check that says so`, async () => {
    expect((await judge(findFault(name))).wrong).toEqual([]);
  });
}
