import { describe, expect, test } from "bun:test";
import { Code } from "../../../../../../proto/ttrpc/status.ts";
import { parseSettings } from "../../../../../../shim/process/stdio/log/settings.ts";

const endless = Number.POSITIVE_INFINITY;

describe("settings of a log", () => {
  test.each([
    ["format=json", { format: "json", maxSize: endless, maxFile: 3 }],
    ["format=cri&max-size=10m&max-file=5", { format: "cri", maxSize: 10 << 20, maxFile: 5 }],
    ["max-size=1g", { format: "raw", maxSize: 1 << 30, maxFile: 3 }],
    ["max-size=64K&max-file=1", { format: "raw", maxSize: 65536, maxFile: 1 }],
    ["format=raw&max-size=2kb", { format: "raw", maxSize: 2048, maxFile: 3 }],
    ["max-size=10485760", { format: "raw", maxSize: 10485760, maxFile: 3 }],
  ] as const)("%s", (query, settings) => {
    expect(parseSettings(query, "/x.log")).toEqual(settings);
  });

  test.each([
    ["maxsize=10m", 'unknown setting "maxsize"'],
    ["format=xml", 'unknown format "xml"'],
    ["format=", 'unknown format ""'],
    ["format=json&format=cri", "given twice"],
    ["max-size=", "no size"],
    ["max-size=-1", "no size"],
    ["max-size=10t", "no size"],
    ["max-size=1023", "1024 bytes or more"],
    ["max-size=99999999999999999999", "no size"],
    ["max-size=999999999999999g", "no size"],
    ["max-size=1m&max-file=0", "from 1 to 100"],
    ["max-size=1m&max-file=101", "from 1 to 100"],
    ["max-size=1m&max-file=2.5", "from 1 to 100"],
    ["max-file=3", "needs max-size"],
    ["format=json&__proto__=1", "unknown setting"],
  ])("%s is refused", (query, sentence) => {
    const refused = expect.objectContaining({ code: Code.InvalidArgument, message: expect.stringContaining(sentence) });
    expect(() => parseSettings(query, "/x.log")).toThrow(refused);
    expect(() => parseSettings(query, "/x.log")).toThrow("log file /x.log: ");
  });
});
