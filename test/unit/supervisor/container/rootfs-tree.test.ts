import { describe, expect, test } from "bun:test";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { RootfsTree } from "../../../../supervisor/container/rootfs-tree.ts";
import { run } from "../../../lib/command.ts";
import { processScope } from "../../../lib/scope.ts";
import { testUnless } from "../../../lib/skip.ts";

let made = 0;

/** Layers of files, the lowest first. */
function layers(...contents: Record<string, string>[]): string[] {
  return contents.map((files) => {
    const layer = join(processScope().dir, `layer${++made}`);
    mkdirSync(layer, { recursive: true });
    for (const [path, text] of Object.entries(files)) {
      const at = join(layer, path);
      mkdirSync(dirname(at), { recursive: true });
      if (text.startsWith("-> ")) symlinkSync(text.slice(3), at);
      else writeFileSync(at, text);
    }
    return layer;
  });
}

const overlay = (paths: readonly string[]) => {
  const [upper, ...lower] = [...paths].reverse();
  const options = [`lowerdir=${lower.join(":")}`, `upperdir=${upper}`, "workdir=/w"];
  return new RootfsTree([{ type: "overlay", source: "overlay", options }]);
};
const bind = (path: string) => new RootfsTree([{ type: "bind", source: path, options: ["rbind"] }]);

describe("a look into a snapshot", () => {
  test("finds files of all layers, the upper one's first", () => {
    const tree = overlay(layers({ "etc/passwd": "old", "etc/group": "g" }, { "etc/passwd": "new" }));
    expect(tree.read("/etc/passwd", 100)).toBe("new");
    expect(tree.read("/etc/group", 100)).toBe("g");
    expect(tree.read("/etc/shadow", 100)).toBeUndefined();
    expect(tree.read("/etc", 100)).toBeUndefined();
    expect(tree.read("/etc/passwd", 2)).toBe("ne");
    expect(tree.find("/")?.path).toBe("/");
  });

  test("follows links within the tree, and never out of it", () => {
    const outside = join(processScope().dir, "secret");
    writeFileSync(outside, "secret");
    const [layer = ""] = layers({
      "real/file": "inside",
      absolute: "-> /real/file",
      relative: "-> real/../real/file",
      above: "-> ../../../../../../../../real/file",
      out: `-> ${outside}`,
      dir: "-> real",
      loop: "-> loop",
    });
    const tree = bind(layer);
    for (const name of ["absolute", "relative", "above", "dir/file", "dir/../real/file"]) {
      expect(tree.read(`/${name}`, 100)).toBe("inside");
    }
    expect(tree.read("/out", 100)).toBeUndefined();
    expect(tree.read("/loop", 100)).toBeUndefined();
    expect(tree.find("/dir/file")?.path).toBe("/real/file");
  });

  test("a file over a directory hides it", () => {
    const tree = overlay(layers({ "etc/passwd": "old" }, { etc: "a file" }));
    expect(tree.read("/etc/passwd", 100)).toBeUndefined();
    expect(tree.read("/etc", 100)).toBe("a file");
  });

  const isRoot = process.getuid?.() === 0 ? undefined : "it makes device nodes, which needs root";

  testUnless(isRoot, "what is whited out is not there", async () => {
    const paths = layers({ "etc/passwd": "old", "data/a": "a" }, { "data/b": "b" }, {});
    await run(["mkdir", "-p", `${paths[1]}/etc`], { check: true });
    await run(["mknod", `${paths[1]}/etc/passwd`, "c", "0", "0"], { check: true });
    expect(overlay(paths).read("/etc/passwd", 100)).toBeUndefined();
    expect(overlay(paths).read("/data/a", 100)).toBe("a");
  });

  test("a FIFO is not opened", async () => {
    const [layer = ""] = layers({ "etc/x": "" });
    await run(["mkfifo", `${layer}/etc/passwd`], { check: true });
    expect(bind(layer).read("/etc/passwd", 100)).toBeUndefined();
  });

  test("mounts that are no directories are refused with what to do", () => {
    expect(() => new RootfsTree([{ type: "erofs", source: "/x", options: [] }])).toThrow("give --user as numbers");
    expect(() => new RootfsTree([])).toThrow("none");
  });
});
