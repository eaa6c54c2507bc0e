/** Takes out of a text what must differ between two daemons: where they are, when it was, and what is made up by chance. */

/** What is a side's own. */
export interface Own {
  readonly namespace: string;
  readonly dir: string;
  readonly letter: string;
}

type Rule = readonly [RegExp, string];

const day = "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)";
const month = "(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)";

/** In this order. Each takes one kind of thing, and no more than that. */
const rules: readonly Rule[] = [
  // Moves of the cursor and colours.
  // biome-ignore lint/suspicious/noControlCharactersInRegex: that is what they are
  [/\x1b\[[0-9;?]*[A-Za-z]/g, ""],
  [/\r/g, ""],
  // A progress line of ctr that was asking while its pull ended.
  [/^time=.*error="context canceled"\n?/gm, ""],
  // 2026-11-20 10:07:11.123456789 +0000 UTC m=+0.1, with or without its parts
  [
    /\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d)?(?: [+-]\d{4} [A-Z]{3,4})?(?: m=[+-][\d.]+)?/g,
    "TIME",
  ],
  [
    new RegExp(`${day},? +(?:\\d+ ${month}|${month} +\\d+)[ ,]+(?:\\d{4} )?[\\d:.]+(?: [A-Z]{3,4})?(?: \\d{4})?`, "g"),
    "TIME",
  ],
  [/\d{2}[A-Z][a-z]{2}\d{2} \d\d:\d\d [A-Z]{3}/g, "TIME"],
  // Leases and ingests of clients: seconds or nanoseconds, and a random end.
  [/\b\d{5,10}-[A-Za-z0-9_-]{4}(?![A-Za-z0-9_-])/g, "RANDOM"],
  [/\b(extract|view)-\d+-[A-Za-z0-9_-]{4}(?![A-Za-z0-9_-])/g, "$1-RANDOM"],
  [/seconds:\d+ +nanos:\d+/g, "TIME"],
  [/\/s\/[0-9a-f]{64}/g, "/s/HASH"],
  [/\/fifo\/\d+\//g, "/fifo/N/"],
  [/Less than a second|\b\d+ (?:second|minute|hour)s?\b/g, "DURATION"],
  [/elapsed: [\d.]+ ?s/g, "elapsed: DURATION"],
  [/took: ?[\d.]+(?:µs|ms|s)/g, "took: DURATION"],
  [/\b\d+(?:\.\d+)?(?:µs|ms|s)\b/g, "DURATION"],
  [/\([\d.]+ [KMGi]*B\/s\)/g, "(RATE)"],
  [/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g, "UUID"],
  // Every side pushes into a repository of its own.
  [/\bside[- ][abc]\b/g, "side-X"],
  [/127\.0\.0\.1:\d+/g, "REGISTRY"],
  // Directories of snapshots: numbers in the order of their making.
  [/snapshots\/\d+\b/g, "snapshots/N"],
  [/\bNAMESPACE\/\d+\//g, "NAMESPACE/N/"],
  [/containerd-mount\d+/g, "containerd-mountN"],
  [/ctd-volume\d+/g, "ctd-volumeN"],
];

/** A text as both sides must have it. Runs of blanks count as one, since columns are as wide as what was taken out. */
export function normalise(text: string, own: Own, more: readonly Rule[] = []): string {
  let result = text.replaceAll(own.namespace, "NAMESPACE").replaceAll(own.dir, "DIR");
  for (const [pattern, by] of [...rules, ...more]) result = result.replace(pattern, by);
  return result
    .split("\n")
    .map((line) => sortLabels(line.replace(/[ \t]+/g, " ").trimEnd()))
    .join("\n")
    .trimEnd();
}

/** ctr prints labels in the order of a Go map, which is chance. */
function sortLabels(line: string): string {
  return line.replace(/[^\s,=]+=[^\s,]*(?:,[^\s,=]+=[^\s,]*)+/g, (labels) => labels.split(",").sort().join(","));
}

/** Keys of events and of what ctr prints as JSON whose values are a process, a time or made up. */
const chance = new Set(["pid", "exited_at", "created_at", "updated_at", "CreatedAt", "UpdatedAt", "containerd_pid"]);

/** An event's body with what must differ taken out, by keys in their order of spelling. */
export function normaliseBody(body: unknown, own: Own): string {
  const clean = (value: unknown, key = ""): unknown => {
    if (chance.has(key)) return "CHANCE";
    if (typeof value === "string") return normalise(value, own);
    if (Array.isArray(value)) return value.map((one) => clean(one));
    if (typeof value === "object" && value !== null) {
      return Object.fromEntries(
        Object.entries(value)
          .sort(([a], [b]) => (a < b ? -1 : 1))
          .map(([name, inner]) => [name, clean(inner, name)]),
      );
    }
    return value;
  };
  return JSON.stringify(clean(body));
}

/** Digits taken for one number: for process ids and measurements, where a script asks for it. */
export const anyNumber: Rule = [/\b\d+\b/g, "NUMBER"];

export type { Rule };
