import { describe, expect, test } from "bun:test";
import { Code } from "../../../../../proto/ttrpc/status.ts";
import { parseTarget } from "../../../../../shim/process/stdio/uri.ts";

const binary = (path: string, args: string[], mustConfirm = false) => ({ kind: "binary", path, args, mustConfirm });

describe("IO-1 addresses", () => {
  test.each([
    ["", { kind: "null" }],
    ["/run/fifo", { kind: "fifo", path: "/run/fifo" }],
    ["/run/with space", { kind: "fifo", path: "/run/with space" }],
    ["/run/100%25?x#y", { kind: "fifo", path: "/run/100%25?x#y" }],
    ["/run/odd://name", { kind: "fifo", path: "/run/odd://name" }],
    ["fifo:///run/fifo", { kind: "fifo", path: "/run/fifo" }],
    ["file:///var/log/a.log", { kind: "file", path: "/var/log/a.log", query: "" }],
    ["FILE:///var/log/a.log", { kind: "file", path: "/var/log/a.log", query: "" }],
    ["file:///a%20b%C3%BC?max-size=1m&max-file=3#x", { kind: "file", path: "/a bü", query: "max-size=1m&max-file=3" }],
    ["file:///a?", { kind: "file", path: "/a", query: "" }],
    ["file:///a//b/../c", { kind: "file", path: "/a//b/../c", query: "" }],
    ["binary:///usr/bin/log", binary("/usr/bin/log", [])],
    ["binary-v2:///usr/bin/log", binary("/usr/bin/log", [], true)],
    ["binary:///log?id=1&flag", binary("/log", ["id", "1", "flag", ""])],
    ["binary:///log?id=a%20b+c%26", binary("/log", ["id", "a b c&"])],
    ["binary:///log?id=1&id=2&x=3", binary("/log", ["id", "1", "x", "3"])],
    [
      "binary:///log?_NERDCTL_INTERNAL_LOGGING=/var/lib/nerdctl",
      binary("/log", ["_NERDCTL_INTERNAL_LOGGING", "/var/lib/nerdctl"]),
    ],
  ] as const)("%j", (uri, target) => {
    expect(parseTarget(uri, "stdout") as object).toEqual(target);
  });

  test.each([
    ["relative", 'stdout path "relative" is not absolute'],
    ["./a", "is not absolute"],
    ["file://host/path", "is not absolute"],
    ["file://", "is not absolute"],
    ["fifo://x", "is not absolute"],
    ["binary://logger?x=1", "is not absolute"],
    ["npipe:////./pipe/x", "unknown STDIO scheme npipe"],
    ["ttrpc+unix:///run/x?streaming_id=1", "unknown STDIO scheme ttrpc+unix"],
    ["http://example.com/", "unknown STDIO scheme http"],
    ["://x", "is no URI"],
    ["a b://x", "is no URI"],
    ["file:///bad%zz", "%"],
    ["file:///bad%ff", "%"],
    ["/run/a\0b", "NUL"],
    ["file:///a%00b", "NUL"],
    ["binary:///log?x=%00", "NUL"],
  ])("%j is refused", (uri, sentence) => {
    const refused = expect.objectContaining({ code: Code.InvalidArgument, message: expect.stringContaining(sentence) });
    expect(() => parseTarget(uri, "stdout")).toThrow(refused);
  });
});
