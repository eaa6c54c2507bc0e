/**
 * Which folder may import which. The layers: proto <- shim, proto <- supervisor; shim and supervisor know nothing of
 * each other but the shim's system calls; the conformance kit knows the wire and not our shim. And what the serving
 * shim loads is free of `node:` modules, each of which costs it hundreds of kilobytes.
 */

import { existsSync, readFileSync } from "node:fs";
import { dirname, join, normalize, relative } from "node:path";
import { Glob } from "bun";

/** One import as written. */
export interface Import {
  /** What stands in the quotes. */
  specifier: string;
  /** `import()` with a constant. */
  dynamic: boolean;
  /** Only types: gone at run time. */
  typeOnly: boolean;
}

const statements = [
  /(?:^|;)[ \t]*(?:import|export)\b(?:[^"'`;()]*?)\bfrom\s*["']([^"']+)["']/gm,
  /(?:^|;)[ \t]*import\s*["']([^"']+)["']/gm,
];
const calls = /\b(import|require)\(\s*["']([^"']+)["']/g;
const comment = /^[ \t]*(?:\*|\/\/|\/\*).*$/gm;

/** The imports of a source text: statements first, then calls. */
export function readImports(source: string): Import[] {
  const code = source.replace(comment, "");
  const found = statements.flatMap((pattern) =>
    [...code.matchAll(pattern)].map((match) => ({
      specifier: match[1] ?? "",
      dynamic: false,
      typeOnly: /^;?[ \t]*(?:import|export)\s+type\b/.test(match[0]),
    })),
  );
  for (const [, word, specifier = ""] of code.matchAll(calls)) {
    found.push({ specifier, dynamic: word === "import", typeOnly: false });
  }
  return found;
}

/** A file's import with its target as a path of the repository, or as the bare name. */
export interface Edge extends Import {
  /** Path of the importing file, relative to the repository. */
  from: string;
  /** Path of the imported file, relative to the repository, or the specifier of a package. */
  to: string;
}

/** The imports of one file of the repository. */
export function edgesOf(root: string, from: string): Edge[] {
  const path = join(root, from);
  if (!existsSync(path)) return [];
  return readImports(readFileSync(path, "utf8")).map((found) => ({
    ...found,
    from,
    to: found.specifier.startsWith(".") ? normalize(join(dirname(from), found.specifier)) : found.specifier,
  }));
}

interface Rule {
  /** Why, for the message. */
  reason: string;
  /** True for an import that breaks the rule. */
  broken(edge: Edge, root: string): boolean;
}

const isIn = (path: string, folder: string): boolean => path.startsWith(`${folder}/`);
const isPackage = (name: string, wanted: string): boolean => name === wanted || name.startsWith(`${wanted}/`);

const rules: readonly Rule[] = [
  {
    reason: "proto imports nothing from shim, supervisor or test",
    broken: ({ from, to }) => isIn(from, "proto") && ["shim", "supervisor", "test"].some((folder) => isIn(to, folder)),
  },
  {
    reason: "shim imports nothing from supervisor; shim/main.ts alone loads ../supervisor/main.ts, by import()",
    broken: ({ from, to, dynamic }) =>
      isIn(from, "shim") &&
      isIn(to, "supervisor") &&
      !(from === "shim/main.ts" && to === "supervisor/main.ts" && dynamic),
  },
  {
    reason:
      "shim and supervisor import nothing from test; supervisor/main.ts alone loads ../test/conformance/main.ts, by import()",
    broken: ({ from, to, dynamic }) =>
      (isIn(from, "shim") || isIn(from, "supervisor")) &&
      isIn(to, "test") &&
      !(from === "supervisor/main.ts" && to === "test/conformance/main.ts" && dynamic),
  },
  {
    reason: "shim uses neither execa nor gRPC",
    broken: ({ from, to }) => isIn(from, "shim") && (isPackage(to, "execa") || to.startsWith("@grpc/")),
  },
  {
    reason: "supervisor imports of the shim only shim/linux/index.ts",
    broken: ({ from, to }) => isIn(from, "supervisor") && isIn(to, "shim") && to !== "shim/linux/index.ts",
  },
  {
    reason: "bun:ffi is used in shim/linux alone",
    broken: ({ from, to }) => to === "bun:ffi" && !isIn(from, "shim/linux") && !isIn(from, "test"),
  },
  {
    reason: "the conformance kit knows the messages of proto/gen and itself: not our shim, nor how our tests drive it",
    broken: ({ from, to, specifier }) =>
      isIn(from, "test/conformance") &&
      specifier.startsWith(".") &&
      !isIn(to, "test/conformance") &&
      !isIn(to, "proto/gen"),
  },
  {
    reason: "it names no file",
    broken: ({ to, specifier }, root) => specifier.startsWith(".") && !existsSync(join(root, to)),
  },
];

/** Entries of the serving shim: the executable's main without its other roles, and all of serve. */
const servingEntries = ["shim/main.ts", "shim/command/serve.ts"] as const;

/** What the serving shim may load from outside the repository. */
function isLight(name: string): boolean {
  return name === "bun" || name === "bun:ffi" || isPackage(name, "protobufjs");
}

/** Every file that the serving shim can load, each with the way from an entry to it. */
export function servingGraph(root: string): Map<string, string[]> {
  const found = new Map<string, string[]>();
  const queue: string[][] = servingEntries.map((entry) => [entry]);
  for (let way = queue.shift(); way !== undefined; way = queue.shift()) {
    const path = way.at(-1) ?? "";
    if (found.has(path)) continue;
    found.set(path, way);
    for (const edge of edgesOf(root, path)) {
      // main.ts picks one role by import(); of those, serve is the other entry.
      if (edge.typeOnly || (path === "shim/main.ts" && edge.dynamic) || !edge.specifier.startsWith(".")) continue;
      queue.push([...way, edge.to]);
    }
  }
  return found;
}

/** All violations of the import rules, one line each. */
export function checkImports(root: string): string[] {
  const violations: string[] = [];
  const files = ["proto", "shim", "supervisor", "test"].flatMap((folder) =>
    [...new Glob(`${folder}/**/*.{ts,js}`).scanSync(root)].map((path) => relative(root, join(root, path))),
  );
  for (const file of files.sort()) {
    // Generated code is not ours to judge; the test of this module quotes imports that break the rules.
    if (file.includes("/gen/") || file === "test/unit/lib/imports.test.ts") continue;
    for (const edge of edgesOf(root, file)) {
      for (const rule of rules) {
        if (rule.broken(edge, root)) violations.push(`${file}: imports ${edge.specifier}: ${rule.reason}`);
      }
    }
  }
  for (const [path, way] of servingGraph(root)) {
    for (const edge of edgesOf(root, path)) {
      if (edge.typeOnly || edge.specifier.startsWith(".") || isLight(edge.specifier)) continue;
      violations.push(`${path}: imports ${edge.specifier}: the serving shim loads it by ${way.join(" -> ")}`);
    }
  }
  return violations;
}
