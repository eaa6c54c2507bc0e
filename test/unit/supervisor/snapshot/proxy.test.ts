/** Proxy snapshotters: another berth's snapshots behind a unix socket. */

import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { alreadyExists } from "../../../../proto/errdefs.ts";
import { GrpcServer } from "../../../../supervisor/grpc/server.ts";
import { snapshotsService } from "../../../../supervisor/grpc/snapshots.ts";
import { ProxySnapshotter } from "../../../../supervisor/snapshot/proxy.ts";
import { outcome } from "../../../lib/outcome.ts";
import { type Fixture, openFixture } from "./fixture.ts";

// The machine may be busy with other things.
setDefaultTimeout(30_000);

const ns = "default";
/** The name of the proxy here, and of the snapshotter there. */
const remote = "overlayfs";

let far: Fixture;
let server: GrpcServer;
let socket: string;
const dir = mkdtempSync(join(tmpdir(), "berth-proxy-"));

async function serve(): Promise<void> {
  server = new GrpcServer().register("containerd.services.snapshots.v1.Snapshots", snapshotsService(far.service));
  rmSync(socket, { force: true });
  await server.listen(socket);
}

beforeAll(async () => {
  far = openFixture();
  socket = join(dir, "far.sock");
  await serve();
});

afterAll(async () => {
  await server.stop(0);
  await far[Symbol.asyncDispose]();
  rmSync(dir, { recursive: true });
});

/** A service whose only overlayfs is behind the socket. */
function openNear(type = ProxySnapshotter): Fixture {
  let near: Fixture | undefined;
  const proxy = new type(remote, socket, async (alongside) => {
    await near?.database.commit(alongside);
  });
  near = openFixture(new Map([[remote, proxy]]));
  return near;
}

async function failure(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
  } catch (error) {
    return (error as Error).message;
  }
  return "";
}

/** Keys there. */
async function farKeys(): Promise<string[]> {
  return (await Array.fromAsync(far.service.list(ns, remote, []))).map(({ name }) => name);
}

test("every verb goes through, with keys that hold namespace and number", async () => {
  await using near = openNear();
  const { service } = near;
  const labels = { mine: "1", "containerd.io/snapshot/told": "2" };
  const mounts = await service.prepare(ns, undefined, remote, "key", "", labels);
  expect(mounts).toEqual(await far.service.mounts(ns, remote, "default/1/key"));
  expect((await far.service.stat(ns, remote, "default/1/key")).labels).toEqual({ "containerd.io/snapshot/told": "2" });
  expect((await service.stat(ns, remote, "key")).labels).toEqual(labels);
  expect(await service.usage(ns, remote, "key")).toEqual({ size: 4096, inodes: 1 });
  await service.commit(ns, undefined, remote, "layer", "key", labels);
  await service.view(ns, undefined, remote, "view", "layer", {});
  expect(await farKeys()).toEqual(["default/2/layer", "default/3/view"]);
  await service.update(ns, remote, "layer", { "containerd.io/snapshot/told": "3" }, []);
  expect((await far.service.stat(ns, remote, "default/2/layer")).labels).toEqual({
    "containerd.io/snapshot/told": "3",
  });
  expect(await failure(service.mounts(ns, remote, "layer"))).toMatch("not active or view: failed precondition");
  expect(await failure(service.remove(ns, undefined, remote, "layer"))).toMatch("cannot remove snapshot with child");
  for (const key of ["view", "layer"]) await service.remove(ns, undefined, remote, key);
  expect(await farKeys()).toEqual([]);
  await service.cleanup(remote);
  expect(near.database.all("SELECT * FROM snapshot_intents")).toEqual([]);
});

/** As a remote snapshotter does when it has the layer: it commits by itself, and says AlreadyExists. */
class Remote extends ProxySnapshotter {
  override async prepare(): Promise<never> {
    await far.service.prepare(ns, undefined, remote, "k", "", {});
    await far.service.commit(ns, undefined, remote, "default/99/theirs", "k", {
      "containerd.io/snapshot.ref": "target",
    });
    throw alreadyExists("target");
  }
}

test("a snapshot that the other process has under the reference becomes ours", async () => {
  await using near = openNear(Remote);
  const ref = { "containerd.io/snapshot.ref": "target" };
  expect(await failure(near.service.prepare(ns, undefined, remote, "key", "", ref))).toBe(
    'target snapshot "target" from snapshotter: already exists',
  );
  expect(await near.service.stat(ns, remote, "target")).toMatchObject({ name: "target", kind: 3 });
  expect(await failure(near.service.prepare(ns, undefined, remote, "key", "", ref))).toBe(
    'target snapshot "target": already exists',
  );
  await near.service.remove(ns, undefined, remote, "target");
  expect(await farKeys()).toEqual([]);
});

test("what the other process did before a crash of ours is finished or undone", async () => {
  const near = openNear();
  await using _ = { [Symbol.asyncDispose]: () => near[Symbol.asyncDispose]() };
  await near.service.prepare(ns, undefined, remote, "a", "", {});
  // The state of a daemon that was killed after the other process had answered, and before it had recorded that.
  await far.service.prepare(ns, undefined, remote, "default/9/made", "", {});
  await far.service.commit(ns, undefined, remote, "default/10/layer", "default/1/a", {});
  const intents = {
    "default/9/made": { verb: "make" },
    "default/10/layer": {
      verb: "commit",
      namespace: ns,
      key: "a",
      name: "layer",
      parent: "",
      sequence: 10,
      labels: { l: "1" },
    },
    "default/11/never": { verb: "make" },
  };
  for (const [backend, details] of Object.entries(intents)) {
    near.database.run("INSERT INTO snapshot_intents VALUES (?, ?, ?)", remote, backend, JSON.stringify(details));
  }
  await near.service.cleanup(remote);
  expect(await farKeys()).toEqual(["default/10/layer"]);
  expect(await near.service.stat(ns, remote, "layer")).toMatchObject({ kind: 3, labels: { l: "1" } });
  expect(await failure(near.service.stat(ns, remote, "a"))).toMatch("snapshot a does not exist: not found");
  await near.service.remove(ns, undefined, remote, "layer");
});

test("what the other process refuses leaves nothing, here and there", async () => {
  await using near = openNear();
  const proxy = new ProxySnapshotter("unknown", socket, (alongside) => near.database.commit(alongside).then(() => {}));
  await using strange = openFixture(new Map([["unknown", proxy]]));
  expect(await failure(strange.service.prepare(ns, undefined, "unknown", "key", "", {}))).toBe(
    "snapshotter not loaded: unknown: invalid argument",
  );
  expect(strange.warnings).toEqual([]);
  expect(strange.database.all("SELECT * FROM snapshot_intents")).toEqual([]);
  // A lease that is not there is found out before anything is asked for there, or undone.
  expect(await failure(near.service.prepare(ns, "missing", remote, "key", "", {}))).toBe('lease "missing": not found');
  expect(await farKeys()).toEqual([]);
});

test("a removal that is refused here is not done there", async () => {
  await using near = openNear();
  await near.service.prepare(ns, undefined, remote, "key", "", {});
  expect(await near.service.collect(ns, remote, "key", () => false)).toBe(false);
  expect(await farKeys()).toEqual(["default/1/key"]);
  expect(await near.service.collect(ns, remote, "key", () => true)).toBe(true);
  expect(await farKeys()).toEqual([]);
});

test("while the other process is away calls fail at once; then they go through again", async () => {
  await using near = openNear();
  await near.service.prepare(ns, undefined, remote, "key", "", {});
  await server.stop(0);
  const before = performance.now();
  expect(await failure(near.service.mounts(ns, remote, "key"))).toMatch(/^proxy snapshotter overlayfs: /);
  expect(await outcome(near.service.prepare(ns, undefined, remote, "other", "", {}))).toThrow(
    /^proxy snapshotter overlayfs: /,
  );
  await Bun.sleep(200);
  expect(performance.now() - before).toBeLessThan(3000);
  // A removal is done for the client; there it happens later.
  await near.service.remove(ns, undefined, remote, "key");
  expect(await failure(near.service.stat(ns, remote, "key"))).toMatch("does not exist");
  await serve();
  for (let i = 0; i < 50; i++) {
    try {
      await near.service.cleanup(remote);
      break;
    } catch {
      await Bun.sleep(100);
    }
  }
  expect(await farKeys()).toEqual([]);
  expect(near.database.all("SELECT * FROM snapshot_intents")).toEqual([]);
}, 15_000);
