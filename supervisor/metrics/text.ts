/** The text format of Prometheus, version 0.0.4. */

/** Names with values; written in order of their names. */
export type Labels = Readonly<Record<string, string>>;

/** One number. */
export interface Sample {
  readonly labels: Labels;
  readonly value: number;
  /** What comes after the family's name: of histograms only. */
  readonly suffix?: "_bucket" | "_sum" | "_count";
}

/** Samples of one name. */
export interface Family {
  readonly name: string;
  readonly type: "counter" | "gauge" | "histogram";
  readonly help: string;
  readonly samples: readonly Sample[];
}

/** What a scrape answers: families in order of their names, those without samples left out. */
export function exposition(families: readonly Family[]): string {
  const lines: string[] = [];
  for (const { name, type, help, samples } of families.toSorted((a, b) => (a.name < b.name ? -1 : 1))) {
    if (samples.length === 0) continue;
    lines.push(`# HELP ${name} ${help.replace(/\\/g, "\\\\").replace(/\n/g, "\\n")}`, `# TYPE ${name} ${type}`);
    for (const { labels, value, suffix = "" } of samples)
      lines.push(`${name}${suffix}${textOf(labels)} ${number(value)}`);
  }
  return lines.length === 0 ? "" : `${lines.join("\n")}\n`;
}

/** A family of one sample without labels. */
export function single(name: string, type: "counter" | "gauge", help: string, value: number): Family {
  return { name, type, help, samples: [{ labels: {}, value }] };
}

/** `le` of a bucket, as Prometheus writes it. */
export function bound(limit: number): string {
  return limit === Number.POSITIVE_INFINITY ? "+Inf" : String(limit);
}

function textOf(labels: Labels): string {
  const names = Object.keys(labels).sort();
  if (names.length === 0) return "";
  return `{${names.map((name) => `${name}="${escapeValue(labels[name] ?? "")}"`).join(",")}}`;
}

function escapeValue(value: string): string {
  return value.replace(/\\/g, "\\\\").replace(/"/g, '\\"').replace(/\n/g, "\\n");
}

function number(value: number): string {
  if (Number.isFinite(value)) return String(value);
  return Number.isNaN(value) ? "NaN" : value > 0 ? "+Inf" : "-Inf";
}
