/**
 * The lease of a pull. When a pull breaks off because of the network, or because it was ended, what it has brought stays
 * for some days under a lease that the next pull of that name finds: also after a kill or a reboot.
 */

import { Code } from "../../proto/ttrpc/status.ts";
import type { Leases } from "../store/leases.ts";
import { digestOf } from "./descriptor.ts";
import { TransientError } from "./registry/errors.ts";
import { codeOf } from "./unpack.ts";

/** The leases of a daemon. */
export type LeaseRecords = Pick<Leases, "create" | "delete" | "relabel" | "resources">;

/** The label of such a lease: the name of the image. Whoever needs room may delete leases that have it. */
export const PULL_LABEL = "berth/pull";
/** How long what a broken pull has brought stays, in milliseconds. */
const KEPT_MS = 7 * 24 * 3_600_000;

/** The pulls of one daemon that run, by namespace and name. */
export class PullLeases {
  readonly #leases: LeaseRecords;
  readonly #running = new Map<string, number>();

  constructor(leases: LeaseRecords) {
    this.#leases = leases;
  }

  /** Runs a pull of the image `name` under its lease. */
  async with<T>(namespace: string, name: string, work: (lease: string) => Promise<T>): Promise<T> {
    const id = `berth-pull-${digestOf(name).slice("sha256:".length, "sha256:".length + 16)}`;
    const key = `${namespace}/${id}`;
    this.#running.set(key, (this.#running.get(key) ?? 0) + 1);
    let isResumable = false;
    try {
      await this.#open(namespace, id, name);
      return await work(id);
    } catch (error) {
      isResumable = mayGoOn(error);
      throw error;
    } finally {
      const others = (this.#running.get(key) ?? 1) - 1;
      if (others > 0) this.#running.set(key, others);
      else {
        this.#running.delete(key);
        if (!isResumable || this.#isEmpty(namespace, id)) await this.#close(namespace, id);
      }
    }
  }

  async #open(namespace: string, id: string, name: string): Promise<void> {
    const expires = new Date(Date.now() + KEPT_MS).toISOString();
    const labels = { "containerd.io/gc.expire": expires, [PULL_LABEL]: name };
    if (await this.#leases.relabel(namespace, id, labels)) return;
    try {
      await this.#leases.create(namespace, id, labels);
    } catch (error) {
      // Another pull of the name was faster.
      if (codeOf(error) !== Code.AlreadyExists) throw error;
    }
  }

  #isEmpty(namespace: string, id: string): boolean {
    try {
      return this.#leases.resources(namespace, id).length === 0;
    } catch {
      return true;
    }
  }

  async #close(namespace: string, id: string): Promise<void> {
    await this.#leases.delete(namespace, id).catch((error: unknown) => {
      if (codeOf(error) !== Code.NotFound) throw error;
    });
  }
}

/** True for a failure of which the next attempt may know nothing. */
function mayGoOn(error: unknown): boolean {
  const code = codeOf(error);
  if (code === Code.Canceled || code === Code.Unavailable || code === Code.DeadlineExceeded) return true;
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if (cause instanceof TransientError || cause.name === "AbortError") return true;
  }
  return false;
}
