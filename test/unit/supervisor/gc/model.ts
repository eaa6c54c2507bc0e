/** What the collector may remove, worked out the simple way: everything at once, from plain rows. */

import type { Database } from "../../../../supervisor/store/database.ts";

/** Ids of all rows that could be collected, `TABLE NAMESPACE KEY`. */
export type Ids = Set<string>;

interface Row {
  readonly [column: string]: string | number | Uint8Array;
}

interface Thing {
  readonly id: string;
  readonly labels: Record<string, string>;
  readonly refs: string[];
}

const at = (kind: string, namespace: unknown, key: unknown): string => `${kind} ${namespace} ${key}`;

/** All collectible rows. */
export function everything(database: Database): Ids {
  return new Set(read(database).things.keys());
}

/** The collectible rows that are needed now. @param isWritten whether an ingest has a writer */
export function needed(database: Database, now: number, isWritten: (namespace: string, ref: string) => boolean): Ids {
  const { things, leases, resources, images, ingests, containers } = read(database);
  const flat: Ids = new Set();
  const full: Ids = new Set();
  const expired = (labels: Record<string, string>): boolean => {
    const text = labels["containerd.io/gc.expire"];
    return text !== undefined && Date.parse(text) < now;
  };
  const keepFlat = (id: string): void => {
    if (flat.has(id)) return;
    flat.add(id);
    const thing = things.get(id);
    if (id.startsWith("snapshot ") && thing?.refs[0]?.startsWith("snapshot ")) keepFlat(thing.refs[0]);
    if (id.startsWith("image ") && thing?.refs[0]) keepFlat(thing.refs[0]);
  };
  const keep = (id: string): void => {
    if (full.has(id)) return;
    full.add(id);
    const thing = things.get(id);
    for (const ref of thing?.refs ?? []) keep(ref);
    if (thing && !id.startsWith("lease ") && !id.startsWith("ingest "))
      for (const ref of labelRefs(id, thing.labels)) keep(ref);
  };
  for (const lease of leases) {
    const labels = JSON.parse(String(lease["labels"])) as Record<string, string>;
    if (expired(labels)) continue;
    keep(at("lease", lease["namespace"], lease["id"]));
    for (const { namespace, lease: id, type, id: key } of resources) {
      if (namespace !== lease["namespace"] || id !== lease["id"]) continue;
      const kind = String(type);
      const target = kind.startsWith("snapshots/")
        ? at("snapshot", namespace, `${kind.slice(10)}/${key}`)
        : at({ content: "content", images: "image", ingests: "ingest" }[kind] ?? kind, namespace, key);
      if (labels["containerd.io/gc.flat"] !== undefined && kind !== "ingests") keepFlat(target);
      else keep(target);
    }
  }
  for (const image of images) {
    const id = at("image", image["namespace"], image["name"]);
    const labels = things.get(id)?.labels ?? {};
    if (!expired(labels) || labels["io.cri-containerd.pinned"] === "pinned") keep(id);
  }
  for (const ingest of ingests) {
    const [namespace, ref] = [String(ingest["namespace"]), String(ingest["ref"])];
    if (Number(ingest["expires_at"]) > now * 1000 || isWritten(namespace, ref)) keep(at("ingest", namespace, ref));
  }
  for (const { namespace, id, snapshotter, snapshot_key: key, labels } of containers) {
    if (snapshotter !== "") keep(at("snapshot", namespace, `${snapshotter}/${key}`));
    for (const ref of labelRefs(at("container", namespace, id), JSON.parse(String(labels)))) keep(ref);
    full.add(at("container", namespace, id));
  }
  for (const { id, labels } of things.values()) {
    const [kind] = id.split(" ");
    if ((kind === "content" || kind === "snapshot") && labels["containerd.io/gc.root"] !== undefined) keep(id);
  }
  // What a thing says keeps it is a reference the other way about: again and again until nothing more comes of it.
  for (let size = -1; size !== full.size; ) {
    size = full.size;
    for (const { id, labels } of things.values()) {
      const [own = "", namespace] = id.split(" ");
      if (!["content", "image", "snapshot"].includes(own)) continue;
      for (const [key, value] of Object.entries(labels)) {
        const [, kind] = /^containerd\.io\/gc\.bref\.(container|content|image)(?:$|[./])/.exec(key) ?? [];
        const [, snapshotter] = /^containerd\.io\/gc\.bref\.snapshot\.([^/]*)/.exec(key) ?? [];
        const parent = kind ? at(kind, namespace, value) : at("snapshot", namespace, `${snapshotter}/${value}`);
        if ((kind ?? snapshotter) !== undefined && full.has(parent)) keep(id);
      }
    }
  }
  return new Set([...full, ...flat].filter((id) => things.has(id)));
}

function labelRefs(id: string, labels: Record<string, string>): string[] {
  const [, namespace] = id.split(" ");
  return Object.entries(labels).flatMap(([key, value]) => {
    if (/^containerd\.io\/gc\.ref\.content(?:$|[./])/.test(key)) return [at("content", namespace, value)];
    const [, snapshotter] = /^containerd\.io\/gc\.ref\.snapshot\.([^/]*)/.exec(key) ?? [];
    return snapshotter === undefined ? [] : [at("snapshot", namespace, `${snapshotter}/${value}`)];
  });
}

function read(database: Database) {
  const rows = (table: string): Row[] => database.all<Row>(`SELECT * FROM ${table}`);
  const [leases, resources, images, ingests, containers] = [
    rows("leases"),
    rows("lease_resources"),
    rows("images"),
    rows("ingests"),
    rows("containers"),
  ];
  const things = new Map<string, Thing>();
  const add = (id: string, labels: unknown, refs: string[] = []): void => {
    things.set(id, { id, labels: JSON.parse(String(labels)) as Record<string, string>, refs });
  };
  for (const { namespace, id, labels } of leases) add(at("lease", namespace, id), labels);
  for (const { namespace, name, labels, digest } of images)
    add(at("image", namespace, name), labels, [at("content", namespace, digest)]);
  for (const { namespace, ref, expected } of ingests)
    add(at("ingest", namespace, ref), "{}", expected === "" ? [] : [at("content", namespace, expected)]);
  for (const { namespace, digest, labels } of rows("blobs")) add(at("content", namespace, digest), labels);
  for (const { namespace, snapshotter, key, parent, labels } of rows("snapshots")) {
    add(
      at("snapshot", namespace, `${snapshotter}/${key}`),
      labels,
      parent === "" ? [] : [at("snapshot", namespace, `${snapshotter}/${parent}`)],
    );
  }
  return { things, leases, resources, images, ingests, containers };
}
