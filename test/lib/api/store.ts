/** The calls by which two daemons are compared: what they keep, and what they say when they do not. */

import { containerd, type google } from "../../../proto/gen/supervisor.js";
import { GrpcClient } from "../grpc.ts";
import { type Entry, Transcript, textOf } from "./transcript.ts";

const Namespaces = "containerd.services.namespaces.v1.Namespaces";
const Containers = "containerd.services.containers.v1.Containers";
const Images = "containerd.services.images.v1.Images";
const Leases = "containerd.services.leases.v1.Leases";
const Sandboxes = "containerd.services.sandbox.v1.Store";
const Events = "containerd.services.events.v1.Events";
const Introspection = "containerd.services.introspection.v1.Introspection";
const Health = "grpc.health.v1.Health";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const any = (name: string, text = "{}") => ({ type_url: name, value: bytes(text) });
const spec = any("types.containerd.io/opencontainers/runtime-spec/1/Spec", '{"a":1}');
const long = "x".repeat(80);
const digest = `sha256:${"a".repeat(64)}`;
const target = { digest, size: 7, mediaType: "application/vnd.oci.image.manifest.v1+json" };

/**
 * Runs every call on a daemon without anything in it, and the events of it after them.
 * @param options.old leaves out what containerd 1.6 does not know, or falls over
 */
export async function storeTranscript(address: string, options: { old: boolean }): Promise<Entry[]> {
  const client = new GrpcClient(address);
  const controller = new AbortController();
  const events: string[] = [];
  const listening = (async () => {
    for await (const { namespace, topic, event } of client.stream(
      Events,
      "Subscribe",
      {},
      { signal: controller.signal },
    )) {
      events.push(`${namespace} ${topic} ${event?.type_url} ${textOf(decodeEvent(event ?? {}))}`);
    }
  })();
  try {
    await Bun.sleep(100);
    const t = new Transcript(client, { namespace: "n1" });
    await namespaceCalls(t);
    await containerCalls(t);
    await imageCalls(t);
    await leaseCalls(t);
    if (!options.old) await sandboxCalls(t);
    await eventCalls(t);
    if (!options.old) {
      const envelope = { namespace: "a", topic: "/fwd", timestamp: { seconds: 1_700_000_000 } };
      await t.call(Events, "Forward", { envelope }, {});
      await t.call(Events, "Publish", { topic: "/no-event" });
    }
    await filterCalls(t);
    await t.call(Health, "Check", {}, {});
    await t.call(Health, "Check", { service: "x" }, {});
    await t.call(Introspection, "Plugins", {
      filters: ["type==io.containerd.differ.v1,id==walking", "id==containers"],
    });
    await t.call(Introspection, "Plugins", { filters: ["type=="] });
    if (!options.old) await pluginCalls(t);
    await Bun.sleep(200);
    return [...t.entries, ...events.map((answer, at) => ({ call: `event ${at}`, answer }))];
  } finally {
    controller.abort();
    await listening;
    client.close();
  }
}

/** A message as it is meant: maps have no order on the wire. */
function decodeEvent({ type_url, value }: google.protobuf.Any.$Properties): unknown {
  const name = type_url?.split(".").at(-1) ?? "";
  const types: object = type_url?.includes(".images.") === true ? containerd.services.images.v1 : containerd.events;
  const type = (types as Record<string, { decode(bytes: Uint8Array): unknown } | undefined>)[name];
  return type === undefined ? value : type.decode(value ?? new Uint8Array(0));
}

async function namespaceCalls(t: Transcript): Promise<void> {
  await t.call(Namespaces, "List", {}, {});
  await t.call(Namespaces, "Get", { name: "none" }, {});
  await t.call(Namespaces, "Get", { name: "" }, {});
  await t.call(Namespaces, "Create", { namespace: { name: "a", labels: { x: "1", y: "" } } }, {});
  await t.call(Namespaces, "Create", { namespace: { name: "a" } }, {});
  for (const name of ["", "/x", "a..b", long, "../..", 'q"\n\u0001é']) {
    await t.call(Namespaces, "Create", { namespace: { name } }, {});
    await t.call(Namespaces, "Delete", { name }, {});
  }
  await t.call(Namespaces, "Create", { namespace: { name: "l", labels: { k: "v".repeat(4096) } } }, {});
  await t.call(Namespaces, "Create", { namespace: { name: "l", labels: { [long]: "v".repeat(4096) } } }, {});
  await t.call(Namespaces, "Get", { name: "a" }, {});
  await t.call(
    Namespaces,
    "Update",
    { namespace: { name: "a", labels: { z: "3", "u.v/w": "4" } }, updateMask: { paths: ["labels.z"] } },
    {},
  );
  await t.call(Namespaces, "Get", { name: "a" }, {});
  await t.call(Namespaces, "Update", { namespace: { name: "a", labels: {} }, updateMask: { paths: ["labels.x"] } }, {});
  await t.call(Namespaces, "Update", { namespace: { name: "a", labels: {} }, updateMask: { paths: ["name"] } }, {});
  await t.call(
    Namespaces,
    "Update",
    { namespace: { name: "a", labels: { k: "v".repeat(4096) } }, updateMask: { paths: ["labels.k"] } },
    {},
  );
  await t.call(Namespaces, "Update", { namespace: { name: "a", labels: { k: "v".repeat(4096) } } }, {});
  await t.call(Namespaces, "Get", { name: "a" }, {});
  await t.call(Namespaces, "Update", { namespace: { name: "a", labels: { n: "1" } } }, {});
  await t.call(Namespaces, "Get", { name: "a" }, {});
  await t.call(Namespaces, "Update", { namespace: { name: "b", labels: { n: "1" } } }, {});
  await t.call(Namespaces, "List", {}, {});
  await t.call(Namespaces, "Delete", { name: "b" }, {});
  await t.call(Namespaces, "Delete", { name: "b" }, {});
  await t.call(Namespaces, "List", {}, {});
}

async function containerCalls(t: Transcript): Promise<void> {
  const container = {
    id: "c1",
    labels: { a: "1", empty: "", "x.y/z": "2" },
    image: "docker.io/library/busybox:latest",
    runtime: { name: "io.containerd.runc.v2", options: any("containerd.runc.v1.Options", "o") },
    spec,
    snapshotter: "overlayfs",
    snapshotKey: "c1",
    extensions: { e1: any("t1", "one") },
    sandbox: "s1",
  };
  await t.call(Containers, "List", {}, {});
  await t.call(Containers, "Get", { id: "c1" }, { namespace: "a/b" });
  await t.call(Containers, "Get", { id: "c1" }, { namespace: long });
  await t.call(Containers, "List", {});
  await t.call(Containers, "Get", { id: "c1" });
  await t.call(Containers, "Delete", { id: "c1" });
  await t.call(Containers, "Update", { container });
  await t.call(Namespaces, "List", {}, {});
  for (const id of ["", "/", "a b", long]) await t.call(Containers, "Create", { container: { ...container, id } });
  await t.call(Containers, "Create", { container: { ...container, spec: null } });
  await t.call(Containers, "Create", { container: { ...container, spec: {} } });
  await t.call(Containers, "Delete", { id: "c1" });
  await t.call(Containers, "Delete", { id: "c1" });
  await t.call(Containers, "Create", { container: { ...container, runtime: null } });
  await t.call(Containers, "Create", { container: { ...container, runtime: { name: "" } } });
  await t.call(Containers, "Create", { container: { ...container, snapshotter: "" } });
  await t.call(Containers, "Create", { container: { ...container, extensions: { "": any("x") } } });
  await t.call(Containers, "Create", { container: { ...container, labels: { k: "v".repeat(4096) } } });
  await t.call(Containers, "Create", { container });
  await t.call(Containers, "Create", { container });
  await t.call(Containers, "Get", { id: "c1" });
  await t.call(Containers, "Get", { id: "c2" });
  await t.call(Containers, "Get", { id: "" });
  await t.call(Containers, "Delete", { id: "c2" });
  await t.call(Containers, "Delete", { id: 'c2"' });
  await t.call(Containers, "Update", { container: { id: "" } });
  await t.call(Containers, "Update", { container: { id: "c2" } });
  await t.call(Containers, "Update", { container: { ...container, snapshotter: "native" } });
  await t.call(Containers, "Update", { container: { ...container, runtime: { name: "other" } } });
  for (const path of [
    "labels",
    "labels.a",
    "labels.x.y/z",
    "labels.new",
    "extensions",
    "extensions.e1",
    "extensions.e2",
    "image",
    "spec",
    "snapshotkey",
    "snapshotKey",
    "snapshotter",
    "runtime",
    "runtime.name",
    "id",
    "created_at",
    "sandbox",
    "",
    "labels.",
  ]) {
    const given = {
      id: "c1",
      labels: { new: "n" },
      image: `image-${path}`,
      spec: any("s", path),
      extensions: { e2: any("t2", "two") },
    };
    await t.call(Containers, "Update", { container: given, updateMask: { paths: [path] } });
    await t.call(Containers, "Get", { id: "c1" });
  }
  await t.call(Containers, "Update", {
    container: { ...container, snapshotKey: "other", labels: { k: "v".repeat(4096) } },
  });
  await t.call(Containers, "Update", { container: { ...container, snapshotKey: "other", extensions: {} } });
  await t.call(Containers, "Get", { id: "c1" });
  await t.call(Containers, "Update", { container: { ...container, spec: null } });
  await t.call(Containers, "Update", {
    container: { id: "c1", labels: { a: "" } },
    updateMask: { paths: ["labels.a", "nothing"] },
  });
  await t.call(Containers, "Get", { id: "c1" });
  await t.call(Containers, "Create", { container: { id: "A", spec, runtime: { name: "r" } } });
  await t.call(Containers, "Create", { container: { id: "c10", spec, runtime: { name: "r" }, labels: { only: "" } } });
  await t.call(Containers, "List", {});
  await t.call(Namespaces, "Delete", { name: "n1" }, {});
  await t.call(Containers, "Delete", { id: "A" });
  await t.call(Containers, "Delete", { id: "c10" });
}

async function imageCalls(t: Transcript): Promise<void> {
  const image = {
    name: "docker.io/library/a:1",
    labels: { a: "1", empty: "" },
    target: { ...target, annotations: { n: "1", empty: "" } },
  };
  await t.call(Images, "List", {}, {});
  await t.call(Images, "Get", { name: "none" });
  await t.call(Images, "Get", { name: "" });
  await t.call(Images, "Delete", { name: "none" });
  await t.call(Images, "Delete", { name: "none" }, { namespace: "n2" });
  await t.call(Images, "Update", { image }, { namespace: "n2" });
  await t.call(Namespaces, "List", {}, {});
  await t.call(Images, "Create", { image: { ...image, name: "" } });
  await t.call(Images, "Update", { image: { ...image, name: "" } });
  for (const bad of [
    "",
    "x",
    "sha256:",
    "sha256:abc",
    `sha256:${"z".repeat(64)}`,
    `sha256:${"A".repeat(64)}`,
    `md5:${"a".repeat(32)}`,
    `sha384:${"a".repeat(96)}`,
    `sha512:${"a".repeat(128)}`,
    ":abc",
    "sha256:a:b",
    "a b:c",
    `../x:${"a".repeat(64)}`,
    `sha256+b64:${"a".repeat(64)}`,
  ]) {
    await t.call(Images, "Create", {
      image: { ...image, name: `bad-${bad.length}`, target: { ...target, digest: bad } },
    });
  }
  await t.call(Images, "Create", { image: { ...image, target: { ...target, size: 0 } } });
  await t.call(Images, "Create", { image: { ...image, target: { ...target, size: -1 } } });
  await t.call(Images, "Create", { image: { ...image, target: { ...target, mediaType: "" } } });
  await t.call(Images, "Create", { image: { ...image, labels: { k: "v".repeat(4096) } } });
  await t.call(Images, "Create", { image }, { namespace: "n1", lease: "no-such" });
  await t.call(
    Images,
    "Create",
    { image: { ...image, labels: { "containerd.io/gc.expire": "2030-01-01T00:00:00Z" } } },
    { namespace: "n1", lease: "no-such" },
  );
  await t.call(Images, "Create", { image });
  await t.call(Images, "Create", { image: { ...image, name: "epoch" }, sourceDateEpoch: { seconds: 5, nanos: 6 } });
  await t.call(Images, "Get", { name: "epoch" });
  await t.call(Images, "Get", { name: image.name });
  await t.call(Images, "Update", { image: { ...image, name: "none" } });
  for (const path of [
    "labels",
    "labels.a",
    "labels.new",
    "target",
    "annotations",
    "annotations.x",
    "annotations.n",
    "target.digest",
    "name",
    "",
    "created_at",
  ]) {
    const given = { name: image.name, labels: { new: "n" }, target: { ...target, size: 8, annotations: { x: "y" } } };
    await t.call(Images, "Update", { image: given, updateMask: { paths: [path] } });
    await t.call(Images, "Get", { name: image.name });
  }
  await t.call(Images, "Update", { image: { name: image.name, target, labels: { only: "" } } });
  await t.call(Images, "Update", { image: { name: image.name, target: {}, labels: { x: "y" } } });
  await t.call(Images, "Update", {
    image: { name: image.name, target, labels: { k: "v".repeat(4096) } },
    updateMask: { paths: ["labels.k"] },
  });
  await t.call(Images, "Update", {
    image: { name: image.name, target, labels: { p: "q" } },
    updateMask: { paths: ["labels.p"] },
    sourceDateEpoch: { seconds: 9 },
  });
  await t.call(Images, "List", {});
  await t.call(Images, "List", { filters: ["name~=docker"] });
  await t.call(Namespaces, "Delete", { name: "n1" }, {});
  await t.call(Images, "Delete", { name: "epoch", target: { digest: `sha256:${"b".repeat(64)}` } });
  await t.call(Images, "Delete", { name: "epoch", target: { digest } });
  await t.call(Images, "Delete", { name: "epoch" });
  await t.call(Images, "Delete", { name: image.name, sync: true });
  for (const end of [`384:${"a".repeat(96)}`, `512:${"a".repeat(128)}`])
    await t.call(Images, "Delete", { name: `bad-${`sha${end}`.length}` });
}

async function leaseCalls(t: Transcript): Promise<void> {
  await t.call(Leases, "List", {}, {});
  await t.call(Leases, "Delete", { id: "none" });
  await t.call(Leases, "Delete", { id: "none" }, { namespace: "n3" });
  await t.call(Leases, "Create", { id: "l1", labels: { a: "1", empty: "" } });
  await t.call(Leases, "Create", { id: "l1" });
  await t.call(Leases, "Create", { id: "any/thing with spaces" });
  await t.call(Leases, "Create", { id: "l2", labels: { k: "v".repeat(5000) } });
  await t.call(Leases, "List", { filters: ["id==l1", 'id=="any/thing with spaces"'] });
  await t.call(Leases, "List", { filters: ["labels.a==1"] });
  await t.call(Leases, "AddResource", { id: "none", resource: { type: "content", id: digest } });
  for (const type of [
    "content",
    "ingests",
    "images",
    "snapshots/overlayfs",
    "snapshots",
    "snapshots/a/b",
    "content/x",
    "",
    "other",
    "mounts",
  ]) {
    await t.call(Leases, "AddResource", { id: "l1", resource: { type, id: "x" } });
    await t.call(Leases, "DeleteResource", { id: "l1", resource: { type, id: "missing" } });
  }
  await t.call(Leases, "AddResource", { id: "l1", resource: { type: "content", id: digest } });
  await t.call(Leases, "AddResource", { id: "l1", resource: { type: "content", id: digest } });
  await t.call(Leases, "AddResource", { id: "l1", resource: { type: "images", id: "" } });
  await t.call(Leases, "AddResource", { id: "l1", resource: { type: "snapshots/", id: "x" } });
  await t.call(Leases, "ListResources", { id: "l1" });
  await t.call(Leases, "ListResources", { id: "none" });
  await t.call(Leases, "DeleteResource", { id: "l1", resource: { type: "content", id: digest } });
  await t.call(Leases, "ListResources", { id: "l1" });
  const expiring = { name: "e", target, labels: { "containerd.io/gc.expire": "2030-01-01T00:00:00Z" } };
  await t.call(Images, "Create", { image: expiring }, { namespace: "n1", lease: "l1" });
  await t.call(Leases, "ListResources", { id: "l1" });
  await t.call(Images, "Delete", { name: "e" }, { namespace: "n1", lease: "l1" });
  await t.call(Leases, "ListResources", { id: "l1" });
  for (const id of ["l1", "l2", "any/thing with spaces"]) await t.call(Leases, "Delete", { id, sync: true });
  await t.call(Leases, "List", {});
}

async function sandboxCalls(t: Transcript): Promise<void> {
  const sandbox = {
    sandboxId: "s1",
    runtime: { name: "r1", options: any("o", "opt") },
    spec,
    labels: { a: "1", empty: "" },
    extensions: { e1: any("t1", "one") },
    sandboxer: "shim",
  };
  await t.call(Sandboxes, "List", {}, {});
  await t.call(Sandboxes, "Get", { sandboxId: "s1" });
  await t.call(Sandboxes, "Delete", { sandboxId: "s1" });
  await t.call(Sandboxes, "Update", { sandbox });
  for (const sandboxId of ["", "a/b", long]) await t.call(Sandboxes, "Create", { sandbox: { ...sandbox, sandboxId } });
  await t.call(Sandboxes, "Create", { sandbox });
  await t.call(Sandboxes, "Create", { sandbox });
  await t.call(Sandboxes, "Get", { sandboxId: "s1" });
  await t.call(Sandboxes, "Get", { sandboxId: "s2" });
  await t.call(Sandboxes, "Delete", { sandboxId: "s2" });
  await t.call(Sandboxes, "Update", { sandbox: { ...sandbox, sandboxId: "s2" } });
  await t.call(Sandboxes, "Update", { sandbox: { ...sandbox, runtime: { name: "r2" } } });
  for (const field of [
    "labels",
    "labels.a",
    "labels.new",
    "extensions",
    "extensions.e2",
    "extensions.e1",
    "runtime",
    "spec",
    "sandboxer",
    "",
    "id",
  ]) {
    const given = {
      sandboxId: "s1",
      labels: { new: "n" },
      extensions: { e2: any("t2", "two") },
      runtime: { name: `r-${field}` },
    };
    await t.call(Sandboxes, "Update", { sandbox: given, fields: [field] });
    await t.call(Sandboxes, "Get", { sandboxId: "s1" });
  }
  await t.call(Sandboxes, "Create", { sandbox: { sandboxId: "s3", runtime: { name: "r" } } });
  await t.call(Sandboxes, "List", {});
  await t.call(Sandboxes, "List", { filters: ["id==s3", "labels.a"] });
  await t.call(Sandboxes, "Delete", { sandboxId: "s3" });
  await t.call(Sandboxes, "Delete", { sandboxId: "s1" });
  await t.call(Sandboxes, "Get", { sandboxId: "s1" });
}

async function eventCalls(t: Transcript): Promise<void> {
  const event = any("containerd.events.TaskStart", "");
  const at = { seconds: 1_700_000_000 };
  await t.call(Events, "Publish", { topic: "/x", event }, {});
  for (const topic of ["", "x", "/", "//", "/a/", "/a b", "/tasks/start", `/${long}`])
    await t.call(Events, "Publish", { topic, event });
  await t.call(Events, "Publish", { topic: "/unknown", event: any("un.known", "?") });
  for (const namespace of ["", "a/b", "else"]) {
    await t.call(Events, "Forward", { envelope: { namespace, topic: "/fwd", event, timestamp: at } }, {});
  }
  await t.call(Events, "Forward", { envelope: { namespace: "a", topic: "bad", event, timestamp: at } }, {});
}

async function pluginCalls(t: Transcript): Promise<void> {
  const runtime = { type: "io.containerd.runtime.v2", id: "task" };
  const request = (runtimePath: string) =>
    ({
      type_url: "containerd.types.RuntimeRequest",
      value: containerd.types.RuntimeRequest.encode({ runtimePath }).finish(),
    }) as const;
  await t.call(Introspection, "PluginInfo", runtime);
  for (const name of ["io.containerd.nothing.v2", "/no/such/shim", "bad", ""]) {
    await t.call(Introspection, "PluginInfo", { ...runtime, options: request(name) });
  }
  await t.call(Introspection, "PluginInfo", { ...runtime, options: any("containerd.runc.v1.Options", "") });
  await t.call(Introspection, "PluginInfo", { ...runtime, options: any("un.known", "") });
  await t.call(Introspection, "PluginInfo", { ...runtime, id: "none" });
  await t.call(Introspection, "PluginInfo", { type: "none", id: "task" });
  await t.call(Introspection, "PluginInfo", {});
  await t.call(Introspection, "PluginInfo", { type: "io.containerd.gc.v1", id: "scheduler" });
  await t.call(Introspection, "PluginInfo", { type: "io.containerd.gc.v1", id: "scheduler", options: request("x") });
}

/** Filters, of which many are wrong. */
export const filters = [
  "labels.a-b==1",
  "id==c-1",
  "a b",
  "id\t==\tc1",
  "id~=a{",
  "id~=(?P<x>c)",
  "id~=[[:alpha:]]",

  "",
  "id==c1",
  "id!=c1",
  "id~=c",
  "id~=/c.*/",
  "id~=|c1|",
  "id",
  "image",
  "labels",
  "labels.a",
  'labels."a"',
  "labels.a==1",
  "labels.a!=1",
  'labels."x.y/z"==2',
  "labels.x.y/z==2",
  "runtime.name==io.containerd.runc.v2",
  "runtime",
  "runtime.other",
  "id==c1,labels.a==1",
  "id==c1,labels.a==2",
  " id == c1 ",
  "id == c1 , image",
  "id==",
  "id=",
  "id=c1",
  "==c1",
  "id==c1,",
  ",",
  "id==c1 labels.a",
  'id=="c1"',
  'id=="c\\x31"',
  'id=="c\\u0031"',
  'id=="c\\061"',
  'id=="c1',
  "id==/c1/",
  "id~=[",
  'id~="["',
  'id~="^c\\\\d$"',
  "id~=(?i)C1",
  "nothing",
  "nothing!=x",
  "nothing~=",
  "nothing~=.*",
  "id@=c",
  "id===c1",
  "id!c1",
  "1d==c1",
  "-==c1",
  "id==c1,id",
  "é==c1",
  "id==é",
  "id==c1\u0000",
  "id.x==c1",
  "image==docker.io/library/busybox:latest",
  "image==image-image",
  "id==a,,",
  "labels.=1",
  "id..x",
  ".id",
  "'id'==c1",
  "id=='c1'",
  "id~='c'",
  "id~=/c/x",
  "id==c1.d",
  "id==c=1",
  "id==a!b",
  "id==|c1|",
  'labels."a\\q"',
];

async function filterCalls(t: Transcript): Promise<void> {
  for (const filter of filters) await t.call(Containers, "List", { filters: [filter] });
  await t.call(Containers, "List", { filters: ["id==none", "id==c1"] });
  await t.call(Containers, "List", { filters: ["id==none", ""] });
  await t.call(Containers, "List", { filters: ["id==c1", "("] });
  await t.call(Leases, "List", { filters: ["("] });
  await t.call(Images, "List", { filters: ["("] });
  await t.call(Containers, "Delete", { id: "c1" });
}
