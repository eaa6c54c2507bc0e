/** A YAML text as a tree of maps, lists and texts that know where they stand. Anchors and merge keys are resolved. */

/** Where something stands in its file; both from 1. */
export interface Place {
  readonly line: number;
  readonly column: number;
}

interface Standing {
  readonly at: Place;
  /** How a person names it: `services.web.ports[0]`. */
  readonly path: string;
}

/** A scalar, as written and with its variables filled in. */
export interface TextNode extends Standing {
  readonly kind: "text";
  readonly text: string;
  /** False for what stands in quotes, or is a block: never a number or a truth value. */
  readonly isPlain: boolean;
}

/** Nothing: an empty value, `~` or `null`. */
export interface NullNode extends Standing {
  readonly kind: "null";
}

export interface ListNode extends Standing {
  readonly kind: "list";
  readonly items: readonly Node[];
}

/** One key of a map with its value; the key has a place of its own. */
export interface Entry {
  readonly key: TextNode;
  readonly value: Node;
}

export interface MapNode extends Standing {
  readonly kind: "map";
  readonly entries: ReadonlyMap<string, Entry>;
}

export type Node = TextNode | NullNode | ListNode | MapNode;

/** What a node is, for messages: `a list`. */
export function describe(node: Node): string {
  if (node.kind === "text") return JSON.stringify(node.text.length > 60 ? `${node.text.slice(0, 57)}...` : node.text);
  return { null: "nothing", list: "a list", map: "a map" }[node.kind];
}

/** The path of a key below another: quoted where it has characters of a path. */
export function pathOf(above: string, key: string): string {
  const name = /^[A-Za-z0-9_-]+$/.test(key) ? key : JSON.stringify(key);
  return above === "" ? name : `${above}.${name}`;
}

/** What volumes, networks and services may be called. */
export const nodeName = /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,63}$/;

/** The node of a key, for messages about it. */
export function nodeAt(node: Node, key: string): Node {
  return (node.kind === "map" ? node.entries.get(key)?.value : undefined) ?? { ...node, path: pathOf(node.path, key) };
}
