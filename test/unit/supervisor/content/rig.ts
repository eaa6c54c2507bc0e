/** A content store of a test's own. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ContentStore } from "../../../../supervisor/content/store.ts";
import { Database } from "../../../../supervisor/store/database.ts";
import { Leases } from "../../../../supervisor/store/leases.ts";
import { Namespaces } from "../../../../supervisor/store/namespaces.ts";
import { migrations } from "../../../../supervisor/store/schema.ts";

/** A digest of bytes. */
export function digestOf(bytes: string | Uint8Array): string {
  return `sha256:${new Bun.CryptoHasher("sha256").update(bytes).digest("hex")}`;
}

/** A store with everything under it, that can be stopped, killed and opened again. */
export class Rig {
  readonly root: string;
  readonly events: string[] = [];
  readonly errors: string[] = [];
  database!: Database;
  leases!: Leases;
  store!: ContentStore;

  constructor(root = mkdtempSync(join(tmpdir(), "berth-content-"))) {
    this.root = root;
  }

  async open(policy: "shared" | "isolated" = "shared"): Promise<this> {
    this.database = new Database(join(this.root, "berth.db"), migrations);
    const publisher = { publish: (namespace: string, topic: string) => this.events.push(`${namespace} ${topic}`) };
    const namespaces = new Namespaces(this.database, publisher);
    this.leases = new Leases({ database: this.database, namespaces, collector: { schedule() {} } });
    this.store = await ContentStore.open({
      directory: join(this.root, "content"),
      database: this.database,
      leases: this.leases,
      namespaces,
      publisher,
      policy,
      onError: (what, error) => this.errors.push(`${what}: ${error}`),
    });
    return this;
  }

  /** Ends as the daemon does when it is told to. */
  async stop(): Promise<void> {
    await this.store.close();
    this.database.close();
  }

  /** Ends as a daemon that was killed. */
  async kill(): Promise<void> {
    await this.store.idle();
    this.store.opened.close();
    this.database.close();
  }

  remove(): void {
    rmSync(this.root, { recursive: true, force: true });
  }

  /** Writes a blob. @returns its digest */
  async put(text: string, namespace = "default", labels: Record<string, string> = {}): Promise<string> {
    const digest = digestOf(text);
    const writer = await this.store.writer(namespace, { ref: `put-${digest}`, total: text.length });
    await writer.write(Buffer.from(text));
    await writer.commit({ expected: digest, labels });
    return digest;
  }

  /** Reads a blob. */
  async get(digest: string, namespace = "default"): Promise<string> {
    const reader = await this.store.readerAt(namespace, digest);
    try {
      return Buffer.from(await reader.read(0, reader.size)).toString();
    } finally {
      await reader.close();
    }
  }
}
