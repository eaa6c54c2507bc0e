/**
 * Compares what two daemons say to the same calls, and prints what differs.
 *
 * Usage: bun test/lib/api/main.ts EXPECTED-SOCKET ACTUAL-SOCKET [old]
 */

import { storeTranscript } from "./store.ts";
import { differences } from "./transcript.ts";

const [expected = "", actual = "", old] = process.argv.slice(2);
const options = { old: old !== undefined };
const [a, b] = [await storeTranscript(expected, options), await storeTranscript(actual, options)];
const found = differences(a, b);
for (const difference of found) console.log(difference);
console.log(`${found.length} differences in ${a.length} answers`);
process.exit(found.length === 0 ? 0 : 1);
