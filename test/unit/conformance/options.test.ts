import { describe, expect, test } from "bun:test";
import { parseOptions } from "../../conformance/options.ts";

describe("parseOptions", () => {
  test("has defaults for all but the shim", () => {
    expect(parseOptions(["--shim", "/s"])).toMatchObject({
      command: "run",
      shim: "/s",
      selection: { only: [], skip: [], level: "should" },
      outputs: [{ format: "text" }],
      jobs: 2,
      timeout: 30_000,
      keep: false,
      verbose: false,
    });
  });

  test("reads lists, numbers and switches", () => {
    const args = ["--shim=/s", "--only", "A,B", "--only", "C", "--skip", "D", "--level", "must", "--jobs", "4"];
    const options = parseOptions([
      ...args,
      "--timeout",
      "5",
      "--keep",
      "--verbose",
      "--runc",
      "/r",
      "--expected",
      "e.json",
    ]);
    expect(options.selection).toEqual({ only: ["A", "B", "C"], skip: ["D"], level: "must" });
    expect(options).toMatchObject({
      jobs: 4,
      timeout: 5000,
      keep: true,
      verbose: true,
      runc: "/r",
      expected: "e.json",
    });
  });

  test("annotations are pairs, and a value may have a = in it", () => {
    const args = ["--shim", "/s", "--annotation", "a.b=c", "--annotation", "d=e=f", "--annotation", "g="];
    expect(parseOptions(args).annotations).toEqual({ "a.b": "c", d: "e=f", g: "" });
    expect(() => parseOptions(["--shim", "/s", "--annotation", "a"])).toThrow("KEY=VALUE");
  });

  test("--list and --help need no shim", () => {
    expect(parseOptions(["--list"]).command).toBe("list");
    expect(parseOptions(["-h"]).command).toBe("help");
  });

  test("the ending of a file chooses its format, and a person still reads how it went", () => {
    const files = ["--report", "a.json", "--report", "b.xml", "--report", "c.html", "--report", "d.tap"];
    expect(parseOptions(["--shim", "/s", ...files]).outputs).toEqual([
      { path: "a.json", format: "json" },
      { path: "b.xml", format: "junit" },
      { path: "c.html", format: "html" },
      { path: "d.tap", format: "tap" },
      { format: "text" },
    ]);
    expect(parseOptions(["--shim", "/s", "--format", "tap", "--report", "out.log"]).outputs[0]).toEqual({
      path: "out.log",
      format: "tap",
    });
    expect(parseOptions(["--shim", "/s", "--format", "json"]).outputs).toEqual([{ format: "json" }]);
  });

  test("merge takes reports", () => {
    expect(parseOptions(["merge", "a.json", "b.json"])).toMatchObject({
      command: "merge",
      reports: ["a.json", "b.json"],
    });
    expect(parseOptions(["merge", "a.json"]).outputs).toEqual([{ format: "html" }]);
    expect(parseOptions(["merge", "a.json", "--report", "m.html"]).outputs).toEqual([
      { path: "m.html", format: "html" },
    ]);
  });

  const wrong: readonly (readonly [readonly string[], string])[] = [
    [[], "--shim PATH is missing"],
    [["--shim", ""], "--shim PATH is missing"],
    [["run"], "run is no option and no command"],
    [["merge"], "merge needs reports"],
    [["--shim", "/s", "--nope"], "--nope"],
    [["--shim", "/s", "--level", "may"], "--level is one of must, should"],
    [["--shim", "/s", "--format", "pdf"], "--format is one of text, tap, junit, json, html"],
    [["--shim", "/s", "--jobs", "0"], "--jobs is a number of 1 or more, not 0"],
    [["--shim", "/s", "--timeout", "soon"], "--timeout is a number of 1 or more, not soon"],
  ];
  test.each(wrong)("refuses %j", (args, message) => {
    expect(() => parseOptions(args)).toThrow(message);
  });
});
