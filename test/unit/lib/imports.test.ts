import { describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { checkImports, readImports, servingGraph } from "../../lib/imports.ts";

/** Writes a small repository, calls `body` with it, and removes it. */
function withFiles<T>(files: Record<string, string>, body: (root: string) => T): T {
  const root = mkdtempSync("/tmp/berth-imports-");
  try {
    for (const [path, text] of Object.entries(files)) {
      mkdirSync(dirname(join(root, path)), { recursive: true });
      writeFileSync(join(root, path), text);
    }
    return body(root);
  } finally {
    rmSync(root, { recursive: true });
  }
}

describe("readImports", () => {
  test.each([
    [`import { a } from "./a.ts";`, "./a.ts", false, false],
    [`import type { A } from "./a.ts";`, "./a.ts", false, true],
    [`import {\n  a,\n  type B,\n} from "./a.ts";`, "./a.ts", false, false],
    [`export { a } from "./a.ts";`, "./a.ts", false, false],
    [`export type { A } from "./a.ts";`, "./a.ts", false, true],
    [`export * from "./a.ts";`, "./a.ts", false, false],
    [`import "./a.ts";`, "./a.ts", false, false],
    [`  const { a } = await import("./a.ts");`, "./a.ts", true, false],
    [`const a = require("node:fs");`, "node:fs", false, false],
  ])("%s", (source, specifier, dynamic, typeOnly) => {
    expect(readImports(source)).toEqual([{ specifier, dynamic, typeOnly }]);
  });

  test.each([` * import { a } from "./a.ts";`, `// import("./a.ts")`, `export const a = 1; // from "b"`])(
    "is not misled by %s",
    (source) => {
      expect(readImports(source)).toEqual([]);
    },
  );
});

describe("checkImports", () => {
  const broken: Record<string, [string, string]> = {
    "proto imports nothing from shim": ["proto/a.ts", `import type { X } from "../shim/x.ts";`],
    "shim imports nothing from supervisor": ["shim/a.ts", `import { x } from "../supervisor/main.ts";`],
    "loads ../supervisor/main.ts, by import()": ["shim/main.ts", `import { x } from "../supervisor/main.ts";`],
    "neither execa nor gRPC": ["shim/a.ts", `import { execa } from "execa";`],
    "only shim/linux/index.ts": ["supervisor/main.ts", `import { x } from "../shim/x.ts";`],
    "bun:ffi is used in shim/linux alone": ["shim/a.ts", `import { dlopen } from "bun:ffi";`],
    "the conformance kit knows the messages": ["test/conformance/a.ts", `import { x } from "../../shim/x.ts";`],
    "the serving shim loads it by shim/command/serve.ts": ["shim/command/serve.ts", `import { x } from "node:fs";`],
  };
  for (const [reason, [path, text]] of Object.entries(broken)) {
    test(`finds: ${reason}`, () => {
      const files = { "shim/x.ts": "", "supervisor/main.ts": "", "supervisor/b.ts": "", [path]: text };
      expect(withFiles(files, checkImports).join("\n")).toContain(reason);
    });
  }

  test("finds a node: module behind a dynamic import of the serving shim", () => {
    const files = {
      "shim/command/serve.ts": `await import("../task.ts");`,
      "shim/task.ts": `import { x } from "../proto/x.ts";`,
      "proto/x.ts": `import { readFileSync } from "node:fs";`,
    };
    const way = "shim/command/serve.ts -> shim/task.ts -> proto/x.ts";
    expect(withFiles(files, checkImports)).toEqual([expect.stringContaining(`loads it by ${way}`)]);
  });

  test("allows what the layers allow", () => {
    const files = {
      "proto/a.ts": `import protobuf from "protobufjs/minimal";`,
      "shim/main.ts": `await import("../supervisor/main.ts"); await import("./command/start.ts");`,
      "shim/command/start.ts": `import { openSync } from "node:fs";`,
      "shim/command/serve.ts": `import { x } from "../linux/index.ts"; import type { Y } from "node:fs";`,
      "shim/linux/index.ts": `import { dlopen } from "bun:ffi"; import { a } from "../../proto/a.ts";`,
      "supervisor/main.ts": `import { x } from "../shim/linux/index.ts";`,
    };
    withFiles(files, (root) => {
      expect(checkImports(root)).toEqual([]);
      expect([...servingGraph(root).keys()].sort()).toEqual([
        "proto/a.ts",
        "shim/command/serve.ts",
        "shim/linux/index.ts",
        "shim/main.ts",
      ]);
    });
  });
});
