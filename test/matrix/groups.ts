/** The columns of the matrix: which group a test belongs to, told by the ids in its name and by its file. */

/** One column. */
interface Group {
  readonly name: string;
  /** Names of tests that belong here, wherever they are. */
  readonly names?: RegExp;
  /** Paths of files whose tests belong here unless their names say otherwise. */
  readonly files?: RegExp;
}

/** In the order in which a test's name is asked, which is also the order of the columns. */
const rules: readonly Group[] = [
  { name: "oom", names: /\bR19\b|\bOOM\b|\boom\b/ },
  { name: "grouping", names: /\bSK-3\b|\bST-8\b|\bDL-4\b/, files: /\bgroup/ },
  { name: "checkpoint", names: /\bCP-\d/, files: /checkpoint/ },
  { name: "console", names: /\bIO-7\b/, files: /console|terminal/ },
  { name: "logger", names: /\bIO-3\b|binary(-v2)?:\/\//, files: /logger/ },
  { name: "cgroup", names: /\bT-STS-|\bT-UPD-|\bST-9\b|\bT-CRE-9\b/, files: /cgroup/ },
  { name: "rootfs", names: /\bUN-\d/, files: /rootfs|mount/ },
  { name: "restart", names: /\bRS-\d|\bEV-3\b/, files: /restart|upgrade/ },
  { name: "delete", names: /\bDL-\d/, files: /delete/ },
  { name: "start", names: /\b(INV|ST|IN|SK)-\d/, files: /start|replay|info/ },
  { name: "options", names: /\bOPT-\d|\bT-CRE-1\b/, files: /option/ },
  { name: "events", names: /\bEV-\d/, files: /event/ },
  { name: "stdio", names: /\bIO-\d|\bR1[4-7]\b/, files: /stdio|\bio\b/ },
  { name: "task", names: /\b(T-[A-Z]{3}|PR)-\d/, files: /container|task|process/ },
  { name: "ttrpc", names: /\bTT-\d/, files: /ttrpc/ },
  { name: "fault", files: /fault/ },
  { name: "other", files: /(?:)/ },
];

/** The names of all groups, in the order of the columns. */
export const groupNames: readonly string[] = rules.map((rule) => rule.name);

/** The group of a test: the first whose names it has, else the first whose files its file is of. */
export function groupOf(path: string, name: string): string {
  return rules.find((rule) => rule.names?.test(name))?.name ?? groupOfFile(path);
}

/** The group of a file's tests when their names say nothing. */
export function groupOfFile(path: string): string {
  return rules.find((rule) => rule.files?.test(path))?.name ?? "other";
}

/**
 * A pattern for test names which every test of the groups matches (others may), for a file whose own group is not
 * among them; undefined when no name leads to any of them.
 */
export function namePattern(wanted: readonly string[]): RegExp | undefined {
  const sources = rules.filter((rule) => wanted.includes(rule.name)).flatMap((rule) => rule.names?.source ?? []);
  return sources.length === 0 ? undefined : new RegExp(sources.join("|"));
}
