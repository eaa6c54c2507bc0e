/**
 * The import rules of the repository, checked by reading the sources. Prints each violation and exits with 1 when there
 * is one.
 *
 * Usage: bun test/imports.ts
 */

import { checkImports } from "./lib/imports.ts";
import { root } from "./lib/paths.ts";

const violations = checkImports(root);
for (const violation of violations) console.error(violation);
process.exit(violations.length > 0 ? 1 : 0);
