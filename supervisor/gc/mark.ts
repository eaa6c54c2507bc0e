/**
 * Marking: which things are needed. It is done in slices, between which everybody else works; what they make or change
 * meanwhile is looked at again before anything is removed, so that at that moment everything that can be reached is
 * marked. What became garbage during the mark is left for the next collection.
 */

import { type Graph, type Table, tables } from "./graph.ts";
import { idOf, type Node } from "./node.ts";
import type { Touched } from "./touched.ts";

/** Rows that are read at a time. */
const PAGE = 200;

/** Marks of one collection. */
export class Marks {
  readonly #graph: Graph;
  readonly #touched: Touched;
  /** Milliseconds since 1970, by which expirations are judged. */
  readonly #now: number;
  /** Ids of things that are needed with what they refer to, and of those that are needed alone. */
  readonly #full = new Set<string>();
  readonly #flat = new Set<string>();
  /** Needed, but what they refer to was not looked at yet. */
  readonly #grey: Node[] = [];
  /** By id: things that are needed when it is. */
  readonly #children = new Map<string, Map<string, Node>>();

  constructor(graph: Graph, touched: Touched, now: number) {
    this.#graph = graph;
    this.#touched = touched;
    this.#now = now;
  }

  /** Marks what is needed; hands over to others at every yield. */
  *run(): Generator<void> {
    for (const table of tables) {
      let after: readonly string[] | undefined;
      do {
        const { entries, last } = this.#graph.page(table, after, PAGE, this.#now);
        for (const { node, parents, roots } of entries) {
          for (const root of roots) this.#mark(root);
          if (node) this.#adopt(node, parents);
        }
        after = last;
        yield;
      } while (after !== undefined);
    }
    while (this.#grey.length > 0) {
      this.#trace();
      yield;
    }
  }

  /** Looks at everything that was made or changed since. Runs to its end: for the transaction that removes. */
  catchUp(): void {
    for (const { table, key } of this.#touched.take()) this.#look(table, key);
    while (this.#grey.length > 0) this.#trace();
  }

  /** True for a thing that must stay. */
  has(node: Node): boolean {
    const id = idOf(node);
    return this.#full.has(id) || this.#flat.has(id);
  }

  /** Marks a thing, unless it is already. What is needed with its references need not be marked as needed alone. */
  #mark(node: Node): void {
    const id = idOf(node);
    const set = node.isFlat ? this.#flat : this.#full;
    if (this.#full.has(id) || set.has(id)) return;
    set.add(id);
    this.#grey.push(node);
  }

  #trace(): void {
    const node = this.#grey.pop();
    if (node === undefined) return;
    for (const target of this.#graph.references(node)) this.#mark(target);
    if (node.isFlat) return;
    for (const child of this.#children.get(idOf(node))?.values() ?? []) this.#mark(child);
  }

  /** Notes what keeps a thing, and keeps it when one of them is needed already. */
  #adopt(node: Node, parents: readonly Node[]): void {
    for (const parent of parents) {
      const id = idOf(parent);
      let children = this.#children.get(id);
      if (children === undefined) {
        children = new Map();
        this.#children.set(id, children);
      }
      children.set(idOf(node), node);
      if (this.#full.has(id)) this.#mark(node);
    }
  }

  /** Looks at a row that was made or changed: at what it means to others, and at what it refers to now. */
  #look(table: Table, key: readonly string[]): void {
    const entry = this.#graph.entry(table, key, this.#now);
    if (entry === undefined) return;
    const { node, parents, roots } = entry;
    for (const root of roots) this.#mark(root);
    if (node === undefined) return;
    this.#adopt(node, parents);
    const id = idOf(node);
    if (this.#full.has(id)) this.#grey.push(node);
    if (this.#flat.has(id)) this.#grey.push({ ...node, isFlat: true });
    if (node.kind === "lease" && roots.length > 0) {
      // A lease that lives longer, or is no longer flat, keeps what it holds by its new labels.
      const [namespace = "", lease = ""] = key;
      for (const held of this.#graph.leased(namespace, lease, this.#now)) this.#mark(held);
    }
  }
}
