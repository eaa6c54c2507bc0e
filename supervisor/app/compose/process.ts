/** What a service runs, and with which rights: commands, limits of the kernel, devices. */

import { type HealthConfig, healthActions, healthDefaults } from "../../container/health.ts";
import type { DeviceOption, Ulimit } from "../../container/options.ts";
import { either, flag, integer, list, mapOf, object, oneOf, type Reader, text, wrong } from "./reader.ts";
import { duration } from "./units.ts";
import { splitWords } from "./words.ts";

/** `command` and `entrypoint`: a list, or one text taken apart as a shell would. */
export const command: Reader<string[]> = either<string[], string[]>((node, problems) => {
  const written = text(node, problems);
  if (written === undefined) return undefined;
  return splitWords(written) ?? problems.add(node.at, node.path, "a quote is not closed");
}, list(text));

const limit = integer(-1, 2 ** 53 - 1);
const softHard = object({ soft: limit, hard: limit });
/** Names that setrlimit has. */
const ulimitNames = [
  "as",
  "core",
  "cpu",
  "data",
  "fsize",
  "locks",
  "memlock",
  "msgqueue",
  "nice",
  "nofile",
  "nproc",
  "rss",
  "rtprio",
  "rttime",
  "sigpending",
  "stack",
];

/** `ulimits`: one number for both, or `soft` and `hard`. */
export const ulimits: Reader<Ulimit[]> = (node, problems) => {
  const each: Reader<{ soft: number; hard: number }> = (value, found) => {
    if (value.kind === "text") {
      const both = limit(value, found);
      return both === undefined ? undefined : { soft: both, hard: both };
    }
    const read = softHard(value, found);
    if (read === undefined) return undefined;
    const { soft, hard } = read;
    if (soft === undefined || hard === undefined) return found.add(value.at, value.path, "expected soft and hard");
    return { soft, hard };
  };
  const expected = `one of ${ulimitNames.join(", ")}`;
  const read = mapOf(each, { pattern: new RegExp(`^(?:${ulimitNames.join("|")})$`), expected })(node, problems);
  return read && [...read].map(([name, { soft, hard }]) => ({ name, soft, hard }));
};

const device: Reader<DeviceOption> = (node, problems) => {
  const written = text(node, problems);
  const [, source, target = source, permissions = "rwm"] =
    /^(\/[^:]+)(?::(\/[^:]+))?(?::([rwm]{1,3}))?$/.exec(written ?? "") ?? [];
  if (source === undefined || target === undefined)
    return wrong(node, problems, '"/dev/x", "/dev/x:/dev/y" or "/dev/x:/dev/y:rwm"');
  return { source, target, permissions };
};
const deviceFields = object({ source: text, target: text, permissions: text });

/** `devices`. */
export const devices: Reader<DeviceOption[]> = list(
  either(device, (node, problems) => {
    const read = deviceFields(node, problems);
    if (read === undefined) return undefined;
    const { source, target = source, permissions = "rwm" } = read;
    if (source === undefined || target === undefined) return problems.add(node.at, node.path, "no source");
    return { source, target, permissions };
  }),
);

const healthFields = object({
  test: either<string | string[], string | string[]>(text, list(text)),
  interval: duration,
  timeout: duration,
  retries: integer(1, 1000),
  start_period: duration,
  start_interval: duration,
  disable: flag,
  "x-berth-action": oneOf(...healthActions),
});

/** `healthcheck`; null: there is none, whatever the image says. Without a test the image's is taken. */
export const healthcheck: Reader<Partial<HealthConfig> | { readonly none: true }> = (node, problems) => {
  const read = healthFields(node, problems);
  if (read === undefined) return undefined;
  const { test, disable, "x-berth-action": action, ...times } = read;
  if (disable) return { none: true };
  if (test === undefined) return { ...times, ...(action ? { action } : {}) };
  if (typeof test !== "string" && test[0] === "NONE") return { none: true };
  const words = typeof test === "string" ? ["CMD-SHELL", test] : test;
  const [kind, ...rest] = words;
  const isShell = kind === "CMD-SHELL" && rest.length === 1 && rest[0] !== "";
  if (!isShell && !(kind === "CMD" && rest.length > 0 && rest[0] !== "")) {
    return problems.add(
      node.at,
      `${node.path}.test`,
      'expected a text, ["CMD", PROGRAM, ARGUMENT...], ["CMD-SHELL", TEXT] or ["NONE"]',
    );
  }
  return { ...healthDefaults, ...times, ...(action ? { action } : {}), test: words };
};
