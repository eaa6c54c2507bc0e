/**
 * containerd's filter language (pkg/filters): `field.path==value,other!=value`, `field~=regexp`, or a field alone, which
 * asks whether it is there. The parts of one filter must all hold; of several filters one must.
 */

import { invalidArgument } from "../../proto/errdefs.ts";
import { compilePattern } from "./pattern.ts";
import { Scanner, tokens, unquote } from "./scanner.ts";

/** Gives the value of a field path of the thing that is looked at; undefined when it has none. */
export type FieldLookup = (path: readonly string[]) => string | undefined;

/** True for a thing that the filter lets through. */
export type Filter = (lookup: FieldLookup) => boolean;

/** Lets everything through. */
export const always: Filter = () => true;

/**
 * Any of these filters; without one, everything.
 * @param message what a client is told of a mistake, from what containerd's parser says of it; the default is that of lists
 * @throws ContainerdError InvalidArgument with the place of the mistake
 */
export function parseFilters(
  filters: readonly string[],
  message: (problem: string) => string = (problem) => `${problem}: invalid argument`,
): Filter {
  const any = filters.map((filter) => parseFilter(filter, message));
  if (any.length === 0 || any.includes(always)) return always;
  return (lookup) => any.some((filter) => filter(lookup));
}

/** The lookup for things that have a few fields by name, and labels: `labels.NAME`, `labels."a.b/c"`. */
export function fieldsOf(
  fields: Readonly<Record<string, string>>,
  labels?: Readonly<Record<string, string>>,
): FieldLookup {
  return ([first = "", ...rest]) => {
    if (first === "labels") return labels === undefined ? undefined : labelOf(labels, rest);
    return own(fields, first);
  };
}

/** The value of a label whose name was taken apart at its dots. */
export function labelOf(labels: Readonly<Record<string, string>>, path: readonly string[]): string | undefined {
  return own(labels, path.join("."));
}

function own(values: Readonly<Record<string, string>>, name: string): string | undefined {
  return Object.hasOwn(values, name) ? values[name] : undefined;
}

function parseFilter(text: string, message: (problem: string) => string): Filter {
  if (text === "") return always;
  const fail = (problem: string): never => {
    throw invalidArgument(message(`filters: parse error: ${problem}: invalid argument`));
  };
  const all = parseSelectors(new Scanner(text, fail));
  return (lookup) => all.every((selector) => selector(lookup));
}

function parseSelectors(scanner: Scanner): Filter[] {
  const found = [parseSelector(scanner)];
  for (;;) {
    const next = scanner.peek();
    if (next === tokens.end) return found;
    if (next !== ",") scanner.failNext(`unexpected input: ${next === tokens.illegal ? "\ufffd" : next}`);
    scanner.scan();
    found.push(parseSelector(scanner));
  }
}

function parseSelector(scanner: Scanner): Filter {
  const path = [parseField(scanner)];
  while (scanner.peek() === ".") {
    scanner.scan();
    path.push(parseField(scanner));
  }
  const next = scanner.peek();
  if (next === "," || next === tokens.end) return (lookup) => lookup(path) !== undefined;
  const operator = parseOperator(scanner);
  const value = parseValue(scanner, operator === "~=");
  // A field that is not there has an empty value for all but ==, as in containerd.
  if (operator === "==") return (lookup) => lookup(path) === value;
  if (operator === "!=") return (lookup) => (lookup(path) ?? "") !== value;
  // A wrong one lets nothing through, as in containerd.
  const pattern = compilePattern(value);
  return (lookup) => pattern?.(lookup(path) ?? "") ?? false;
}

function parseField(scanner: Scanner): string {
  const { at, kind, text } = scanner.scan();
  if (kind === "field") return text;
  if (kind === "quoted") return unquoted(scanner, at, text, false);
  return scanner.fail(at, kind === "illegal" ? scanner.problem : "expected field or quoted");
}

function parseOperator(scanner: Scanner): string {
  const { at, kind, text } = scanner.scan();
  if (kind === "operator") {
    if (text === "==" || text === "!=" || text === "~=") return text;
    return scanner.fail(at, `unsupported operator "${text}"`);
  }
  return scanner.fail(at, kind === "illegal" ? scanner.problem : 'expected an operator ("=="|"!="|"~=")');
}

function parseValue(scanner: Scanner, isPattern: boolean): string {
  const { at, kind, text } = scanner.scan();
  if (kind === "value" || kind === "field") return text;
  if (kind === "quoted") return unquoted(scanner, at, text, isPattern);
  return scanner.fail(at, kind === "illegal" ? scanner.problem : "expected value or quoted");
}

/** Only a pattern may stand between slashes or bars. */
function unquoted(scanner: Scanner, at: number, text: string, isPattern: boolean): string {
  if (!isPattern && text[0] !== '"') return scanner.fail(at, "invalid quote encountered");
  return unquote(text) ?? scanner.fail(at, "unquoting failed: quote syntax error");
}
