/** Random calls to the snapshot service beside a model of what containerd promises, over restarts. */

import { expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { ContainerdError } from "../../../../proto/errdefs.ts";
import { Code } from "../../../../proto/ttrpc/status.ts";
import { Kind } from "../../../../supervisor/snapshot/snapshotter.ts";
import { openFixture } from "./fixture.ts";

interface Known {
  kind: Kind;
  parent: string;
  labels: Record<string, string>;
}

/** Keys that would be paths, or SQL, if somebody made them so. */
const keys = ["a", "b/../../c", "é\u0000ü", "..", "'; DROP TABLE trees;--", "sha256:0123", "x ".repeat(300), "/etc"];
const namespaces = ["one", "two"];

function random(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

async function codeOf(action: () => Promise<unknown>): Promise<number> {
  try {
    await action();
    return Code.OK;
  } catch (error) {
    if (error instanceof ContainerdError) return error.code;
    throw error;
  }
}

for (const snapshotter of ["overlayfs", "native"]) {
  for (const seed of [1, 2, 3, 4]) {
    test(`${snapshotter} does what the model does, seed ${seed}`, async () => {
      let fixture = openFixture();
      await using _ = { [Symbol.asyncDispose]: () => fixture[Symbol.asyncDispose]() };
      const next = random(seed);
      const pick = <T>(from: readonly T[]): T => from[next(from.length)] as T;
      const model = new Map<string, Map<string, Known>>(namespaces.map((name) => [name, new Map()]));
      for (let step = 0; step < 250; step++) {
        const { service } = fixture;
        const namespace = pick(namespaces);
        const known = model.get(namespace) as Map<string, Known>;
        const [key, other] = [pick(keys), pick(keys)];
        const labels = next(2) === 0 ? {} : { x: `${step}`, "containerd.io/snapshot/y": "z" };
        const [at, above] = [known.get(key), known.get(other)];
        switch (next(8)) {
          case 0:
          case 1:
          case 2: {
            const parent = next(3) === 0 ? "" : other;
            const expected =
              at !== undefined
                ? Code.AlreadyExists
                : parent !== "" && above === undefined
                  ? Code.NotFound
                  : parent !== "" && above?.kind !== Kind.Committed
                    ? Code.InvalidArgument
                    : Code.OK;
            const isView = next(4) === 0;
            const verb = isView ? "view" : "prepare";
            expect(await codeOf(() => service[verb](namespace, undefined, snapshotter, key, parent, labels))).toBe(
              expected,
            );
            if (expected === Code.OK) known.set(key, { kind: isView ? Kind.View : Kind.Active, parent, labels });
            break;
          }
          case 3:
          case 4: {
            const expected =
              above !== undefined
                ? Code.AlreadyExists
                : at === undefined
                  ? Code.NotFound
                  : at.kind !== Kind.Active
                    ? Code.FailedPrecondition
                    : Code.OK;
            expect(await codeOf(() => service.commit(namespace, undefined, snapshotter, other, key, labels))).toBe(
              expected,
            );
            if (expected === Code.OK) {
              known.set(other, { kind: Kind.Committed, parent: at?.parent ?? "", labels });
              known.delete(key);
            }
            break;
          }
          case 5: {
            const hasChild = [...known.values()].some(({ parent }) => parent === key);
            const expected = at === undefined ? Code.NotFound : hasChild ? Code.FailedPrecondition : Code.OK;
            expect(await codeOf(() => service.remove(namespace, undefined, snapshotter, key))).toBe(expected);
            if (expected === Code.OK) known.delete(key);
            break;
          }
          case 6: {
            const expected =
              at === undefined ? Code.NotFound : at.kind === Kind.Committed ? Code.FailedPrecondition : Code.OK;
            expect(await codeOf(() => service.mounts(namespace, snapshotter, key))).toBe(expected);
            break;
          }
          default: {
            const given = { "containerd.io/snapshot/y": "", new: "label" };
            const paths = pick([[], ["labels"], ["labels.new"], ["labels.containerd.io/snapshot/y"]]);
            const expected = at === undefined ? Code.NotFound : Code.OK;
            expect(await codeOf(() => service.update(namespace, snapshotter, key, given, paths))).toBe(expected);
            if (at !== undefined) {
              if (paths.length === 0 || paths[0] === "labels") at.labels = { new: "label" };
              else if (paths[0] === "labels.new") at.labels = { ...at.labels, new: "label" };
              else at.labels = Object.fromEntries(Object.entries(at.labels).filter(([name]) => !name.includes("/y")));
            }
          }
        }
        if (next(60) === 0) fixture = await fixture.reopen();
      }
      for (const [namespace, known] of model) {
        const listed = await Array.fromAsync(fixture.service.list(namespace, snapshotter, []));
        const found = listed.map(({ name, kind, parent, labels }) => [name, { kind, parent, labels }] as const);
        expect(new Map(found)).toEqual(known);
      }
      await fixture.service.cleanup(snapshotter);
      const spare = readdirSync(`${fixture.root}/io.containerd.snapshotter.v1.${snapshotter}/snapshots`).length;
      fixture = await fixture.reopen();
      const left = readdirSync(`${fixture.root}/io.containerd.snapshotter.v1.${snapshotter}/snapshots`);
      const own = fixture.database.all<{ id: number }>(
        "SELECT id FROM trees WHERE NOT (snapshotter = 'native' AND kind = 1 AND parent IS NOT NULL)",
      );
      expect(left.map(Number).sort()).toEqual(own.map(({ id }) => id).sort());
      expect(spare).toBeGreaterThanOrEqual(left.length);
      expect(fixture.warnings).toEqual([]);
    }, 30_000);
  }
}
