import { describe, expect, test } from "bun:test";
import {
  alreadyExists,
  ContainerdError,
  deadlineExceeded,
  failedPrecondition,
  invalidArgument,
  messageOf,
  notFound,
  notImplemented,
  toStatus,
  unknown,
} from "../../../proto/errdefs.ts";
import { TtrpcError } from "../../../proto/ttrpc/status.ts";
import { ErrnoError } from "../../../shim/linux/errno.ts";

describe("TT-8 the codes on the wire", () => {
  test.each([
    [unknown, 2],
    [invalidArgument, 3],
    [deadlineExceeded, 4],
    [notFound, 5],
    [alreadyExists, 6],
    [failedPrecondition, 9],
    [notImplemented, 12],
  ])("%p is %d", (make, code) => {
    const error = make("one sentence");
    expect(error).toBeInstanceOf(ContainerdError);
    expect(error).toBeInstanceOf(Error);
    expect(error.name).toBe("ContainerdError");
    expect(toStatus(error)).toEqual({ code, message: "one sentence" });
  });

  test("the cause of an unknown error is kept, and not told", () => {
    const cause = new Error("secret");
    expect(unknown("x", cause).cause).toBe(cause);
    expect(JSON.stringify(toStatus(unknown("x", cause)))).not.toContain("secret");
  });

  test("what is not ours follows ttrpc's rules", () => {
    expect(toStatus(new TtrpcError(14, "gone"))).toMatchObject({ code: 14, message: "gone" });
    expect(toStatus(new ErrnoError(2, "open", "/x"))).toEqual({
      code: 5,
      message: "open /x: no such file or directory",
    });
    expect(toStatus(new ErrnoError(17, "mkdir", "/x")).code).toBe(6);
    expect(toStatus(new ErrnoError(1, "mount", "/x")).code).toBe(7);
    expect(toStatus(new ErrnoError(28, "write", 3)).code).toBe(2);
    expect(toStatus(new Error("x"))).toEqual({ code: 2, message: "x" });
    expect(toStatus("thrown text")).toEqual({ code: 2, message: "thrown text" });
    expect(toStatus(undefined).code).toBe(2);
  });
});

test.each([
  [new Error("a"), "a"],
  ["b", "b"],
  [7, "7"],
  [undefined, "undefined"],
  [null, "null"],
])("case %# in one sentence", (thrown, sentence) => {
  expect(messageOf(thrown)).toBe(sentence);
});
