/**
 * The names of images, in a file of text beside the blobs: what a person misses first when a database is lost, and what
 * nothing else on disk tells. It is written with the copy of the database and read when there is no such copy.
 */

import { existsSync, readFileSync } from "node:fs";
import { open, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { containerd } from "../../proto/gen/supervisor.js";
import type { Database } from "./database.ts";
import { digestProblem } from "./digest.ts";
import { syncDirectory } from "./file.ts";
import { encodeLabels } from "./labels.ts";
import { microsOf, timestampOf } from "./time.ts";

const { Image } = containerd.services.images.v1;

/** One line of the file. */
interface Line {
  readonly namespace: string;
  readonly name: string;
  readonly digest: string;
  readonly mediaType: string;
  readonly size: number;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  /** Microseconds since 1970. */
  readonly createdAt: number;
  readonly updatedAt: number;
}

/** Where the names are. */
export function namesPath(root: string): string {
  return join(root, "io.containerd.content.v1.content", "images.jsonl");
}

/** All names as they are written. */
export function namesOf(database: Pick<Database, "iterate">): string {
  let text = "";
  for (const { namespace, record } of database.iterate<{ namespace: string; record: Uint8Array }>(
    "SELECT namespace, record FROM images ORDER BY namespace, name",
  )) {
    const { name, labels, target, createdAt, updatedAt } = Image.decode(record);
    const line: Line = {
      namespace,
      name,
      digest: target?.digest ?? "",
      mediaType: target?.mediaType ?? "",
      size: Number(target?.size ?? 0),
      labels,
      annotations: target?.annotations ?? {},
      createdAt: microsOf(createdAt),
      updatedAt: microsOf(updatedAt),
    };
    text += `${JSON.stringify(line)}\n`;
  }
  return text;
}

/** Writes the names in the place of those that were there. @throws NodeJS.ErrnoException */
export async function writeNames(path: string, text: string): Promise<void> {
  if (!existsSync(dirname(path))) return;
  const temporary = `${path}.tmp`;
  try {
    const file = await open(temporary, "w", 0o600);
    await file
      .writeFile(text)
      .then(() => file.datasync())
      .finally(() => file.close());
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  syncDirectory(dirname(path));
}

/** Adds images that the file names, that have no record, and whose blob is there. */
export function readNames(database: Database, root: string): void {
  let text: string;
  try {
    text = readFileSync(namesPath(root), "utf8");
  } catch {
    return;
  }
  database.transaction(() => {
    for (const line of text.split("\n")) {
      const image = parse(line);
      if (image === undefined) continue;
      const blob = join(root, "io.containerd.content.v1.content/blobs", image.digest.replace(":", "/"));
      if (existsSync(blob)) insert(database, image);
    }
  });
}

/** A line that is whole; what is damaged is no name. */
function parse(text: string): Line | undefined {
  try {
    const line = JSON.parse(text) as Partial<Line>;
    const { namespace, name, digest, mediaType, size } = line;
    const isWhole =
      [namespace, name, digest, mediaType].every((value) => typeof value === "string" && value !== "") &&
      Number.isSafeInteger(size) &&
      digestProblem(digest ?? "") === undefined;
    return isWhole ? (line as Line) : undefined;
  } catch {
    return undefined;
  }
}

function insert(database: Database, image: Line): void {
  const { namespace, name, digest, mediaType, size, labels = {}, annotations = {}, createdAt, updatedAt } = image;
  const record = Image.encode({
    name,
    labels: { ...labels },
    target: { mediaType, digest, size, annotations: { ...annotations } },
    createdAt: timestampOf(createdAt),
    updatedAt: timestampOf(updatedAt),
  }).finish();
  database.run(
    "INSERT OR IGNORE INTO images (namespace, name, digest, labels, record) VALUES (?, ?, ?, ?, ?)",
    namespace,
    name,
    digest,
    encodeLabels(labels),
    record,
  );
}
