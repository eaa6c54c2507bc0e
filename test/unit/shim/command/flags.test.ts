import { describe, expect, test } from "bun:test";
import { parseFlags, UsageError } from "../../../../shim/command/flags.ts";
import { calls } from "./calls.ts";

const nothing = {
  namespace: "",
  id: "",
  address: "",
  publishBinary: "",
  bundle: "",
  socket: "",
  debugSocket: "",
  debug: false,
  version: false,
  info: false,
  action: "",
};

describe("INV-2 every captured command line", () => {
  for (const { title, argv, action } of calls) {
    test(title, () => {
      const flags = parseFlags(argv);
      if (action === "info") expect(flags).toMatchObject({ info: true, action: "" });
      else {
        const after = (name: string) => argv[argv.indexOf(name) + 1] ?? "";
        expect(flags).toEqual({
          ...nothing,
          namespace: after("-namespace"),
          id: after("-id"),
          address: after("-address"),
          publishBinary: after("-publish-binary"),
          bundle: action === "delete" ? after("-bundle") : "",
          debug: argv.includes("-debug"),
          action,
        });
        expect(flags.id).not.toBe("");
      }
    });
  }
});

describe("Go's flag syntax", () => {
  test.each([
    [["-id", "a"], { id: "a" }],
    [["--id", "a"], { id: "a" }],
    [["-id=a"], { id: "a" }],
    [["--id=a=b"], { id: "a=b" }],
    [["-id="], { id: "" }],
    [["-id", "a", "-id", "b"], { id: "b" }],
    [["-id", "-debug"], { id: "-debug" }],
    [["-id", ""], { id: "" }],
    [["-namespace", "n", "start"], { namespace: "n", action: "start" }],
    [["start", "-id", "a"], { action: "start", id: "" }],
    [["-debug", "start"], { debug: true, action: "start" }],
    [["-debug=false", "start"], { debug: false, action: "start" }],
    [["-debug", "false"], { debug: true, action: "false" }],
    [["-v"], { version: true }],
    [["--version=T"], { version: true }],
    [["-info=0"], { info: false }],
    [["--", "delete"], { action: "delete" }],
    [["-id", "a", "--", "-debug"], { id: "a", debug: false, action: "-debug" }],
    [["-"], { action: "-" }],
    [["-socket", "/s", "-debug-socket", "/d", "-bundle", "/b"], { socket: "/s", debugSocket: "/d", bundle: "/b" }],
    [[], {}],
  ] as const)("%j", (args, expected) => {
    expect(parseFlags(args)).toEqual({ ...nothing, ...expected });
  });

  test.each([
    [["-id"], "flag needs an argument: -id"],
    [["-nonsense"], "flag provided but not defined: -nonsense"],
    [["-nonsense=1"], "flag provided but not defined: -nonsense"],
    [["-constructor"], "flag provided but not defined: -constructor"],
    [["-toString=x"], "flag provided but not defined: -toString"],
    [["-__proto__", "x"], "flag provided but not defined: -__proto__"],
    [["-debug=maybe"], 'invalid boolean value "maybe" for -debug'],
    [["-debug="], 'invalid boolean value "" for -debug'],
    [["-debug=constructor"], 'invalid boolean value "constructor" for -debug'],
    [["---id", "a"], "bad flag syntax: ---id"],
    [["-=a"], "bad flag syntax: -=a"],
    [["--=a"], "bad flag syntax: --=a"],
  ] as const)("%j is refused", (args, message) => {
    expect(() => parseFlags(args)).toThrow(new UsageError(message));
  });
});
