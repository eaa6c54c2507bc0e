import { describe, expect, test } from "bun:test";
import { killError, lastPrinted, RuncError, saysGone } from "../../../../shim/runc/error.ts";

const failed = (said: string) => new RuncError("runc kill", said, "failed");

describe("T-KIL-1 T-DEL-3 what is gone, in the words of runc 1.1.5 and crun 1.8.1", () => {
  for (const said of [
    "container not running",
    "container does not exist",
    "process already finished",
    "unable to signal init: no such process",
    "open pidfd: No such process",
    "the container `c1` is not running",
    "the container `c1` is not running: No such process",
    "error opening file `/run/containerd/runc/ns/c1/status`: No such file or directory",
    "cannot open directory '/run/containerd/runc/ns/c1': No such file or directory",
  ]) {
    test(said, () => expect(saysGone(failed(said))).toBe(true));
  }
});

describe("what is not gone", () => {
  for (const said of [
    "cannot delete container c1 that is not stopped: running",
    "the container `c1` is not in `created` or `stopped` state",
    "send signal to pidfd: Invalid argument",
    "executable file `no-such-command` not found in $PATH: No such file or directory",
    "realpath `nosuch` failed: No such file or directory",
    "the cgroup does not exist",
  ]) {
    test(said, () => expect(saysGone(failed(said))).toBe(false));
  }

  test("a runc that was killed has said nothing about the container", () => {
    expect(saysGone(new RuncError("runc kill", "no such process", "timeout"))).toBe(false);
  });
});

test("T-KIL-1 a kill of nothing is NotFound, another failure is told in runc's words", () => {
  expect(killError(failed("open pidfd: No such process"), "c1")).toMatchObject({ code: 5 });
  const other = killError(failed("invalid signal 99"), "c1");
  expect(other).toMatchObject({ code: 2, message: "OCI runtime kill failed: invalid signal 99" });
});

describe("the message in what was printed", () => {
  for (const [printed, message] of [
    ['time="2026-11-20T07:20:36Z" level=error msg="container not paused"\n', "container not paused"],
    [
      'time="2026-11-20T07:20:36Z" level=error msg="exec failed: exec: \\"/x\\": no\\nsuch file"\n',
      'exec failed: exec: "/x": no\nsuch file',
    ],
    ['time="2026-11-20T07:20:36Z" level=warning msg="first"\nsecond\n', "second"],
    ["the container `c1` is paused\n", "the container `c1` is paused"],
    ['time="2026-11-20T07:20:36Z" level=error msg="odd \\x01"\n', "odd \\x01"],
    ["\n", undefined],
    ["", undefined],
  ] as const) {
    test(JSON.stringify(printed), () => expect(lastPrinted(printed)).toBe(message));
  }
});
