/** Updates of containers and sandboxes by field paths. */

import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Containers } from "../../../../supervisor/store/containers.ts";
import { Database } from "../../../../supervisor/store/database.ts";
import { Namespaces } from "../../../../supervisor/store/namespaces.ts";
import { Sandboxes } from "../../../../supervisor/store/sandboxes.ts";
import { migrations } from "../../../../supervisor/store/schema.ts";
import { outcome } from "../../../lib/outcome.ts";

let root: string;
let database: Database;
let stores: { containers: Containers; sandboxes: Sandboxes };

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "berth-update-"));
  database = new Database(join(root, "berth.db"), migrations);
  const publisher = { publish: () => undefined };
  const namespaces = new Namespaces(database, publisher);
  stores = {
    containers: new Containers({ database, publisher, namespaces, collector: { schedule: () => undefined } }),
    sandboxes: new Sandboxes({ database, namespaces }),
  };
});

afterEach(() => {
  database.close();
  rmSync(root, { recursive: true });
});

const any = (text: string) => ({ type_url: text, value: new Uint8Array([1]) });
const first = {
  id: "x",
  sandboxId: "x",
  runtime: { name: "r" },
  labels: { a: "1", b: "2" },
  extensions: { e: any("e"), f: any("f") },
  spec: any("old"),
};
const given = { ...first, labels: { a: "9", c: "3" }, extensions: { e: any("E"), g: any("g") }, spec: any("new") };

for (const kind of ["containers", "sandboxes"] as const) {
  const after = async (...paths: string[]) => {
    const store = stores[kind];
    await store.create("n", first);
    await store.update("n", given, paths);
    const { labels, extensions, spec } = store.get("n", "x");
    const types = Object.entries(extensions).map(([key, { type_url: type }]) => `${key}=${type}`);
    return { labels, extensions: types.sort(), spec: spec?.type_url };
  };
  const before = { labels: first.labels, extensions: ["e=e", "f=f"], spec: "old" };

  test(`${kind}: each path replaces its part alone`, async () => {
    expect(await after("labels.a", "labels.b", "extensions.g")).toEqual({
      ...before,
      labels: { a: "9" } as unknown as typeof first.labels,
      extensions: ["e=e", "f=f", "g=g"],
    });
  });

  test(`${kind}: whole maps and the specification`, async () => {
    expect(await after("labels", "extensions", "spec")).toEqual({
      labels: given.labels as unknown as typeof first.labels,
      extensions: ["e=E", "f=f", "g=g"],
      spec: "new",
    });
  });

  test(`${kind}: a path of nothing is refused, and changes nothing`, async () => {
    expect(await outcome(after("labels.a", "nothing"))).toThrow('cannot update "nothing" field on');
    expect(stores[kind].get("n", "x").labels).toEqual(first.labels);
  });
}
