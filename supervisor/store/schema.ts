/** The schema: the tables of every room, by version. A released migration never changes; a new one is added. */

import type { Migration } from "./migration.ts";

/**
 * Labels are JSON objects; times are whole microseconds since 1970, which a JavaScript number holds exactly; records are
 * encoded protobuf messages, so that clients get back what they gave.
 */
export const migrations: readonly Migration[] = [
  `
  -- kinds: what there has ever been in it, as bits: 1 containers, 2 sandboxes
  CREATE TABLE namespaces (
    name TEXT PRIMARY KEY, labels TEXT NOT NULL, kinds INTEGER NOT NULL DEFAULT 0) STRICT, WITHOUT ROWID;

  -- record: containerd.services.containers.v1.Container, of some kB, which is why this table has a rowid. The columns
  -- before it are what filters and collection ask for, and stay on the row's own page.
  CREATE TABLE containers (
    namespace TEXT NOT NULL, id TEXT NOT NULL, snapshotter TEXT NOT NULL, snapshot_key TEXT NOT NULL,
    image TEXT NOT NULL, runtime TEXT NOT NULL, sandbox TEXT NOT NULL, labels TEXT NOT NULL, record BLOB NOT NULL,
    PRIMARY KEY (namespace, id)) STRICT;

  -- record: containerd.services.images.v1.Image
  CREATE TABLE images (
    namespace TEXT NOT NULL, name TEXT NOT NULL, digest TEXT NOT NULL, labels TEXT NOT NULL, record BLOB NOT NULL,
    PRIMARY KEY (namespace, name)) STRICT, WITHOUT ROWID;

  CREATE TABLE leases (
    namespace TEXT NOT NULL, id TEXT NOT NULL, created_at INTEGER NOT NULL, labels TEXT NOT NULL,
    PRIMARY KEY (namespace, id)) STRICT, WITHOUT ROWID;

  -- type: content, ingests, snapshots/NAME, images, mounts
  CREATE TABLE lease_resources (
    namespace TEXT NOT NULL, lease TEXT NOT NULL, type TEXT NOT NULL, id TEXT NOT NULL,
    PRIMARY KEY (namespace, lease, type, id),
    FOREIGN KEY (namespace, lease) REFERENCES leases (namespace, id) ON DELETE CASCADE) STRICT, WITHOUT ROWID;

  -- record: containerd.types.Sandbox
  CREATE TABLE sandboxes (
    namespace TEXT NOT NULL, id TEXT NOT NULL, record BLOB NOT NULL,
    PRIMARY KEY (namespace, id)) STRICT;

  -- A blob as one namespace sees it; the bytes are shared.
  CREATE TABLE blobs (
    namespace TEXT NOT NULL, digest TEXT NOT NULL, size INTEGER NOT NULL,
    created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, labels TEXT NOT NULL,
    PRIMARY KEY (namespace, digest)) STRICT, WITHOUT ROWID;
  CREATE INDEX blobs_by_digest ON blobs (digest);

  -- Blobs that must be hashed before they are used (state 1) or are damaged (2). The empty digest: the last stop was clean.
  CREATE TABLE blob_suspects (digest TEXT PRIMARY KEY, state INTEGER NOT NULL) STRICT, WITHOUT ROWID;

  -- name: the directory of the ingest below ingest/; expected: a digest or empty
  CREATE TABLE ingests (
    namespace TEXT NOT NULL, ref TEXT NOT NULL, name TEXT NOT NULL UNIQUE, expected TEXT NOT NULL,
    started_at INTEGER NOT NULL, expires_at INTEGER NOT NULL, total INTEGER NOT NULL,
    PRIMARY KEY (namespace, ref)) STRICT, WITHOUT ROWID;

  -- A snapshot as a client sees it. kind: 1 view, 2 active, 3 committed. backend: its key in the snapshotter
  CREATE TABLE snapshots (
    snapshotter TEXT NOT NULL, namespace TEXT NOT NULL, key TEXT NOT NULL, parent TEXT NOT NULL,
    kind INTEGER NOT NULL, backend TEXT NOT NULL,
    created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, labels TEXT NOT NULL,
    PRIMARY KEY (snapshotter, namespace, key)) STRICT, WITHOUT ROWID;
  CREATE INDEX snapshots_by_parent ON snapshots (snapshotter, namespace, parent);
  CREATE INDEX snapshots_by_backend ON snapshots (snapshotter, backend);

  -- The number in the last backend key that was given out
  CREATE TABLE snapshot_sequences (
    snapshotter TEXT NOT NULL, namespace TEXT NOT NULL, last INTEGER NOT NULL,
    PRIMARY KEY (snapshotter, namespace)) STRICT, WITHOUT ROWID;

  -- What was begun in a snapshotter of another process. details: JSON, see snapshot/intents.ts
  CREATE TABLE snapshot_intents (
    snapshotter TEXT NOT NULL, backend TEXT NOT NULL, details TEXT NOT NULL,
    PRIMARY KEY (snapshotter, backend)) STRICT, WITHOUT ROWID;

  -- A snapshot as overlayfs or native keeps it: a directory of the name id. Ids are never used again.
  CREATE TABLE trees (
    id INTEGER PRIMARY KEY AUTOINCREMENT, snapshotter TEXT NOT NULL, key TEXT NOT NULL, parent INTEGER,
    kind INTEGER NOT NULL, size INTEGER NOT NULL, inodes INTEGER NOT NULL,
    created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, labels TEXT NOT NULL,
    UNIQUE (snapshotter, key),
    FOREIGN KEY (parent) REFERENCES trees (id)) STRICT;
  CREATE INDEX trees_by_parent ON trees (parent);

  -- What the mount manager has made. id: the name of its directory; record: containerd.types.ActivationInfo, empty while
  -- the mounts are being made
  CREATE TABLE mounts (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    namespace TEXT NOT NULL, name TEXT NOT NULL, record BLOB NOT NULL, lease TEXT NOT NULL,
    UNIQUE (namespace, name)) STRICT;
  `,
  `
  -- Whether the files of a tree are on disk: one of Synced (snapshot/boot.ts). Other than 1 only of committed layers.
  ALTER TABLE trees ADD COLUMN synced INTEGER NOT NULL DEFAULT 1;
  CREATE INDEX trees_unsynced ON trees (snapshotter, synced) WHERE synced <> 1;

  -- The boot of the kernel in which the daemon was started last: one row
  CREATE TABLE boots (id TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
  `,
  `
  -- In which order images were used: used is greater for a later use. Numbers and not times, since clocks jump.
  CREATE TABLE image_uses (
    namespace TEXT NOT NULL, name TEXT NOT NULL, used INTEGER NOT NULL,
    PRIMARY KEY (namespace, name)) STRICT, WITHOUT ROWID;
  CREATE INDEX image_uses_by_use ON image_uses (used);

  -- A pull or another target, and the making and the removal of a container are uses.
  CREATE TRIGGER image_made AFTER INSERT ON images BEGIN
    INSERT INTO image_uses SELECT new.namespace, new.name, (SELECT IFNULL(MAX(used), 0) + 1 FROM image_uses) WHERE true
    ON CONFLICT DO UPDATE SET used = excluded.used; END;
  CREATE TRIGGER image_changed AFTER UPDATE ON images WHEN new.digest <> old.digest BEGIN
    INSERT INTO image_uses SELECT new.namespace, new.name, (SELECT IFNULL(MAX(used), 0) + 1 FROM image_uses) WHERE true
    ON CONFLICT DO UPDATE SET used = excluded.used; END;
  CREATE TRIGGER image_gone AFTER DELETE ON images BEGIN
    DELETE FROM image_uses WHERE namespace = old.namespace AND name = old.name; END;
  CREATE TRIGGER image_used AFTER INSERT ON containers BEGIN
    UPDATE image_uses SET used = (SELECT MAX(used) + 1 FROM image_uses)
    WHERE namespace = new.namespace AND name = new.image; END;
  CREATE TRIGGER image_left AFTER DELETE ON containers BEGIN
    UPDATE image_uses SET used = (SELECT MAX(used) + 1 FROM image_uses)
    WHERE namespace = old.namespace AND name = old.image; END;

  INSERT INTO image_uses SELECT namespace, name, ROW_NUMBER() OVER (ORDER BY namespace, name) FROM images;
  `,
];
