/**
 * Variables in texts, as Compose has them: `$NAME`, `${NAME}`, `${NAME:-default}`, `${NAME-default}`, `${NAME:?error}`,
 * `${NAME?error}`, `${NAME:+instead}`, `${NAME+instead}`, and `$$` for a dollar. What stands after the operator may have
 * variables itself. With a colon an empty variable counts as missing. Pure.
 */

/** Gives a variable's value; undefined when there is none. */
export type Lookup = (name: string) => string | undefined;

/** Longest text that variables may make. */
const MAX_LENGTH = 64 << 10;
const MAX_DEPTH = 10;

/** A text whose variables cannot be filled in: one sentence. */
export class InterpolationError extends Error {
  override readonly name = "InterpolationError";
}

const plain = /^[A-Za-z_][A-Za-z0-9_]*/;
const braced = /^([A-Za-z_][A-Za-z0-9_]*)(:?[-?+])?/;

/**
 * Fills in the variables of a text.
 * @param missing told of each variable that has neither a value nor a default: it is empty then
 * @throws InterpolationError for a wrong `${`, a variable that is required, or a text that grows too long
 */
export function interpolate(
  text: string,
  lookup: Lookup,
  missing: (name: string) => void = () => {},
  depth = 0,
): string {
  if (!text.includes("$")) return text;
  if (depth > MAX_DEPTH) throw new InterpolationError(`variables inside variables more than ${MAX_DEPTH} deep`);
  let result = "";
  for (let at = 0; at < text.length; ) {
    const dollar = text.indexOf("$", at);
    if (dollar < 0) {
      result += text.slice(at);
      break;
    }
    result += text.slice(at, dollar);
    const rest = text.slice(dollar + 1);
    const name = plain.exec(rest)?.[0];
    if (rest.startsWith("$")) {
      result += "$";
      at = dollar + 2;
    } else if (name !== undefined) {
      const value = lookup(name);
      if (value === undefined) missing(name);
      result += value ?? "";
      at = dollar + 1 + name.length;
    } else if (rest.startsWith("{")) {
      const end = closing(rest);
      result += expression(rest.slice(1, end), lookup, missing, depth);
      at = dollar + 1 + end + 1;
    } else {
      throw new InterpolationError(`a $ that begins no variable: write $$ for a dollar`);
    }
    if (result.length > MAX_LENGTH)
      throw new InterpolationError(`its variables make it longer than ${MAX_LENGTH} bytes`);
  }
  return result;
}

/** The index of the brace that ends what begins with one. */
function closing(text: string): number {
  let depth = 0;
  for (let at = 0; at < text.length; at++) {
    if (text[at] === "{" && (at === 0 || text[at - 1] === "$")) depth++;
    else if (text[at] === "}" && --depth === 0) return at;
  }
  throw new InterpolationError("an opening brace without its end");
}

function expression(inside: string, lookup: Lookup, missing: (name: string) => void, depth: number): string {
  const [head = "", name = "", operator] = braced.exec(inside) ?? [];
  const word = inside.slice(head.length);
  if (name === "" || (operator === undefined && word !== "")) {
    throw new InterpolationError(
      `\${${inside}} is no variable: write \${NAME}, \${NAME:-default} or \${NAME:?message}`,
    );
  }
  const value = lookup(name);
  const isThere = value !== undefined && !(operator?.startsWith(":") && value === "");
  switch (operator?.at(-1)) {
    case "-":
      return isThere ? value : interpolate(word, lookup, missing, depth + 1);
    case "+":
      return isThere ? interpolate(word, lookup, missing, depth + 1) : "";
    case "?": {
      if (isThere) return value;
      const why = interpolate(word, lookup, missing, depth + 1);
      throw new InterpolationError(`the variable ${name} is required${why === "" ? "" : `: ${why}`}`);
    }
    default:
      if (value === undefined) missing(name);
      return value ?? "";
  }
}
