/** Which archives were imported: a reboot must not import gigabytes again, nor bring back what was removed since. */

import { readFileSync } from "node:fs";
import { writeDurably } from "../store/file.ts";

/** Archives that are remembered, at most: of more, the oldest are forgotten. */
const MAX = 2000;

/** The record, in a file. */
export class Taken {
  readonly #path: string;
  /** Names of images by the fingerprint of their archive, the oldest first. */
  readonly #images = new Map<string, readonly string[]>();

  /** Reads it; a file that is damaged counts as empty, which costs time and nothing else. */
  constructor(path: string) {
    this.#path = path;
    try {
      const entries = JSON.parse(readFileSync(path, "utf8")) as [unknown, unknown][];
      for (const [key, images] of entries) {
        if (typeof key === "string" && Array.isArray(images)) this.#images.set(key, images.map(String));
      }
    } catch {
      this.#images.clear();
    }
  }

  /** The images of an archive that was imported. */
  get(fingerprint: string): readonly string[] | undefined {
    return this.#images.get(fingerprint);
  }

  /** Notes an archive; after this it is not imported again, also after a power cut. */
  add(fingerprint: string, images: readonly string[]): void {
    this.#images.delete(fingerprint);
    this.#images.set(fingerprint, images);
    for (const key of this.#images.keys()) {
      if (this.#images.size <= MAX) break;
      this.#images.delete(key);
    }
    writeDurably(this.#path, JSON.stringify([...this.#images]));
  }
}
