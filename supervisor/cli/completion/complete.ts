/** What may stand where the cursor is: read off commander's commands, and names asked of the daemon. */

import type { Argument, Command, Option } from "commander";

/** Kinds of names that only the daemon knows. */
export type NameKind = "container" | "image" | "network" | "volume" | "namespace";

/** One way to go on. */
export interface Candidate {
  readonly value: string;
  readonly text: string;
}

/** What there is to offer. */
export interface Completion {
  readonly candidates: readonly Candidate[];
  /** Names of files may stand there, too. */
  readonly files: boolean;
}

/** Gives names of a kind. @param place the values of -n and -a on the line */
export type NamesOf = (
  kind: NameKind,
  place: { readonly namespace?: string; readonly address?: string },
) => Promise<readonly string[]>;

/** Values of options that are the same for every verb. */
const values: Readonly<Record<string, readonly string[]>> = {
  "--format": ["json", "table"],
  "--platform": ["linux/amd64", "linux/arm64", "linux/arm/v7"],
  "--restart": ["no", "always", "on-failure", "unless-stopped"],
  "--pull": ["missing", "always", "never"],
  "--sort": ["name", "cpu", "memory", "restarts"],
  "--signal": ["SIGTERM", "SIGKILL", "SIGHUP", "SIGINT", "SIGUSR1", "SIGUSR2", "SIGSTOP", "SIGCONT"],
};

/** Names of arguments and options with what they stand for. */
const kinds: readonly (readonly [RegExp, NameKind | "file"])[] = [
  [/^(container|id)s?$/i, "container"],
  [/^images?$/i, "image"],
  [/^networks?$/i, "network"],
  [/^volumes?$/i, "volume"],
  [/^namespaces?$/i, "namespace"],
  [/file|path|dir|socket|archive|input|output|root|state/i, "file"],
];

const nothing: Completion = { candidates: [], files: false };

/**
 * @param program with the verb of the line, or with all where the verb itself is typed
 * @param words of the line without the program's name; the last is being typed
 */
export async function complete(program: Command, words: readonly string[], namesOf: NamesOf): Promise<Completion> {
  const typed = words.at(-1) ?? "";
  const place: { namespace?: string; address?: string } = {};
  let command = program;
  let positional = 0;
  let isOver = false;
  let waiting: Option | undefined;
  for (const word of words.slice(0, -1)) {
    if (waiting !== undefined) {
      note(place, waiting, word);
      waiting = undefined;
    } else if (!isOver && word === "--") isOver = true;
    else if (!isOver && word.startsWith("-") && word !== "-") {
      const [flag = "", value] = split(word);
      const option = optionOf(command, flag);
      if (option === undefined || !takesValue(option)) continue;
      if (value === undefined) waiting = option;
      else note(place, option, value);
    } else {
      const child = positional === 0 ? childOf(command, word) : undefined;
      if (child !== undefined) command = child;
      else {
        positional++;
        // What follows is the container's own command line.
        if (command.name() === "run" || command.name() === "exec" || command.name() === "create") isOver = true;
      }
    }
  }
  if (waiting !== undefined) return fitting(await valuesOf(waiting, place, namesOf), typed);
  if (!isOver && typed.startsWith("-")) {
    const [flag = "", value] = split(typed);
    const option = value === undefined ? undefined : optionOf(command, flag);
    if (option !== undefined) {
      const found = await valuesOf(option, place, namesOf);
      const candidates = found.candidates.map(({ value: one, text }) => ({ value: `${flag}=${one}`, text }));
      return fitting({ ...found, candidates }, typed);
    }
    return fitting({ candidates: optionsOf(command), files: false }, typed);
  }
  if (command.commands.length > 0 && positional === 0) {
    return fitting({ candidates: command.commands.map(verbOf), files: false }, typed);
  }
  const argument = command.registeredArguments[positional] ?? command.registeredArguments.at(-1);
  if (argument === undefined || (positional >= command.registeredArguments.length && !argument.variadic))
    return nothing;
  return fitting(await argumentOf(command, argument, place, namesOf), typed);
}

function fitting({ candidates, files }: Completion, typed: string): Completion {
  return { candidates: candidates.filter(({ value }) => value.startsWith(typed)), files };
}

function split(word: string): [string, string | undefined] {
  const equals = word.startsWith("--") ? word.indexOf("=") : -1;
  return equals < 0 ? [word, undefined] : [word.slice(0, equals), word.slice(equals + 1)];
}

function childOf(command: Command, word: string): Command | undefined {
  return command.commands.find((child) => child.name() === word || child.aliases().includes(word));
}

/** An option of a command or of the commands above it; of several short ones at once the last. */
function optionOf(command: Command, flag: string): Option | undefined {
  const short = /^-[A-Za-z]{2,}$/.test(flag) ? `-${flag.slice(-1)}` : flag;
  for (let at: Command | null = command; at !== null; at = at.parent) {
    const found = at.options.find((option) => option.long === flag || option.short === short);
    if (found !== undefined) return found;
  }
  return undefined;
}

function takesValue(option: Option): boolean {
  return option.required || option.optional;
}

function note(place: { namespace?: string; address?: string }, { long }: Option, value: string): void {
  if (long === "--namespace") place.namespace = value;
  if (long === "--address") place.address = value;
}

function optionsOf(command: Command): Candidate[] {
  const all = [...command.options.filter(({ hidden }) => !hidden), ...(command.parent?.options ?? [])];
  const candidates = all.map(({ long, short, description }) => ({ value: long ?? short ?? "", text: description }));
  candidates.push({ value: "--help", text: "print the help of the command" });
  return [...new Map(candidates.map((candidate) => [candidate.value, candidate])).values()];
}

function verbOf(command: Command): Candidate {
  return { value: command.name(), text: command.description() };
}

async function valuesOf(option: Option, place: object, namesOf: NamesOf): Promise<Completion> {
  const { long = "", flags, argChoices } = option;
  const choices = argChoices ?? values[long];
  if (choices !== undefined) return { candidates: choices.map((value) => ({ value, text: "" })), files: false };
  const placeholder = /[<[]([\w-]+)/.exec(flags)?.[1] ?? "";
  for (const word of [long.replace(/^--/, ""), placeholder]) {
    const kind = kindOf(word);
    if (kind !== undefined) return named(kind, place, namesOf);
  }
  return nothing;
}

async function argumentOf(command: Command, argument: Argument, place: object, namesOf: NamesOf): Promise<Completion> {
  if (argument.argChoices !== undefined) {
    return { candidates: argument.argChoices.map((value) => ({ value, text: "" })), files: false };
  }
  if (command.name() === "cp") {
    const { candidates } = await named("container", place, namesOf);
    return { candidates: candidates.map(({ value, text }) => ({ value: `${value}:`, text })), files: true };
  }
  const parent = command.parent?.name() ?? "";
  const noun = kindOf(parent);
  // Of `network rm NAME` the noun says what the name is of.
  const kind = kindOf(argument.name()) ?? (noun !== "file" && command.name() !== "create" ? noun : undefined);
  return kind === undefined ? nothing : named(kind, place, namesOf);
}

function kindOf(word: string): NameKind | "file" | undefined {
  return kinds.find(([pattern]) => pattern.test(word))?.[1];
}

/** A name that needs no quotes in any shell: others, which may be hostile, are not offered. */
const harmless = /^[\w./:@%+-]+$/;

async function named(kind: NameKind | "file", place: object, namesOf: NamesOf): Promise<Completion> {
  if (kind === "file") return { candidates: [], files: true };
  const names = (await namesOf(kind, place)).filter((name) => harmless.test(name) && !name.startsWith("-"));
  return { candidates: [...new Set(names)].sort().map((value) => ({ value, text: "" })), files: false };
}
