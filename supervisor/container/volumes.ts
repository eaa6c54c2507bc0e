/**
 * Volumes: directories that outlive containers, `<root>/volumes/NAMESPACE/NAME/_data`. What is known of one is the file
 * volume.json beside it, which is written last: a volume without it was not finished, and is filled anew.
 */

import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  statSync,
} from "node:fs";
import { join } from "node:path";
import { ContainerdError, failedPrecondition, invalidArgument, messageOf, notFound } from "../../proto/errdefs.ts";
import { Code } from "../../proto/ttrpc/status.ts";
import { syncDirectory, writeDurably } from "../store/file.ts";

/** A volume. */
export interface Volume {
  readonly name: string;
  /** Its directory. */
  readonly path: string;
  readonly createdAt: Date;
  readonly labels: Readonly<Record<string, string>>;
  /** True for one that no name was given for. */
  readonly isAnonymous: boolean;
}

interface VolumeRecord {
  readonly createdAt: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly anonymous?: boolean;
}

/** Volumes of one namespace. */
export class Volumes {
  readonly #directory: string;

  /** @param root of the daemon */
  constructor(root: string, namespace: string) {
    this.#directory = join(root, "volumes", namespace);
  }

  /** All of them, by name. */
  list(): Volume[] {
    if (!existsSync(this.#directory)) return [];
    return readdirSync(this.#directory)
      .filter((name) => isVolumeName(name))
      .sort()
      .flatMap((name) => this.find(name) ?? []);
  }

  /** A volume; undefined when there is none. */
  find(name: string): Volume | undefined {
    const directory = this.#directoryOf(name);
    const record = readRecord(directory);
    if (record === undefined) return undefined;
    const { createdAt, labels = {}, anonymous = false } = record;
    return { name, path: join(directory, "_data"), createdAt: new Date(createdAt), labels, isAnonymous: anonymous };
  }

  /**
   * Makes a volume; one that is there stays as it is.
   * @param fill puts into the empty directory what it begins with
   * @throws ContainerdError; then nothing is there
   */
  async create(
    name: string,
    options: { labels?: Readonly<Record<string, string>>; isAnonymous?: boolean } = {},
    fill?: (path: string) => Promise<void>,
  ): Promise<Volume> {
    const known = this.find(name);
    if (known !== undefined) return known;
    const directory = this.#directoryOf(name);
    const path = join(directory, "_data");
    try {
      // What an attempt before has left.
      rmSync(directory, { recursive: true, force: true });
      mkdirSync(path, { recursive: true, mode: 0o755 });
      await fill?.(path);
      syncDirectory(path);
      const record: VolumeRecord = {
        createdAt: new Date().toISOString(),
        labels: { ...options.labels },
        ...(options.isAnonymous ? { anonymous: true } : {}),
      };
      writeDurably(join(directory, "volume.json"), `${JSON.stringify(record)}\n`, 0o644);
      syncDirectory(this.#directory);
    } catch (error) {
      rmSync(directory, { recursive: true, force: true });
      if (error instanceof ContainerdError) throw error;
      throw new ContainerdError(Code.Unknown, `cannot make volume ${name}: ${messageOf(error)}`, { cause: error });
    }
    const made = this.find(name);
    if (made === undefined) throw new ContainerdError(Code.Unknown, `volume ${name} is gone as soon as it was made`);
    return made;
  }

  /** Removes a volume with all that is in it. @throws ContainerdError NotFound */
  remove(name: string): void {
    if (this.find(name) === undefined) throw notFound(`there is no volume ${name}: berth volume ls lists them`);
    const directory = this.#directoryOf(name);
    // Without its record it counts as not finished, whatever happens meanwhile.
    rmSync(join(directory, "volume.json"), { force: true });
    rmSync(directory, { recursive: true, force: true });
    try {
      rmdirSync(this.#directory);
    } catch {
      // Others are there.
    }
  }

  #directoryOf(name: string): string {
    if (!isVolumeName(name)) {
      throw invalidArgument(
        `${JSON.stringify(name.slice(0, 80))} is no name of a volume: 2 to 128 letters, digits, "_", "." and "-", a letter or digit first`,
      );
    }
    return join(this.#directory, name);
  }
}

/** True for what may be the name of a volume: it becomes part of paths. */
export function isVolumeName(name: string): boolean {
  return /^[A-Za-z0-9][A-Za-z0-9_.-]{1,127}$/.test(name);
}

/** A name for a volume that none was given for. */
export function anonymousName(): string {
  return Buffer.from(crypto.getRandomValues(new Uint8Array(32))).toString("hex");
}

/** @throws ContainerdError FailedPrecondition when the source of a bind mount is not there */
export function bindSource(source: string, createSource: boolean): void {
  if (statSync(source, { throwIfNoEntry: false }) !== undefined) return;
  if (!createSource) {
    throw failedPrecondition(
      `bind mount: there is no ${source} on this machine: make it, or use -v, which makes a directory`,
    );
  }
  try {
    mkdirSync(source, { recursive: true, mode: 0o755 });
  } catch (error) {
    throw failedPrecondition(`bind mount: cannot make ${source}: ${messageOf(error)}`);
  }
}

function readRecord(directory: string): VolumeRecord | undefined {
  let fd: number;
  try {
    fd = openSync(join(directory, "volume.json"), "r");
  } catch {
    return undefined;
  }
  try {
    return JSON.parse(readFileSync(fd, "utf8")) as VolumeRecord;
  } catch {
    return { createdAt: new Date(0).toISOString(), labels: {} };
  } finally {
    closeSync(fd);
  }
}
