/** Instructions of a Dockerfile that `commit --change` applies to an image's configuration. */

import { invalidArgument } from "../../../proto/errdefs.ts";

/** The part of an image's configuration that says how it runs. */
export type RunConfig = Record<string, unknown>;

/** The configuration with one instruction applied. @throws ContainerdError InvalidArgument */
export function changed(config: RunConfig, instruction: string): RunConfig {
  const [, word = "", rest = ""] = /^\s*(\w+)\s+(.*?)\s*$/s.exec(instruction) ?? [];
  switch (word.toUpperCase()) {
    case "CMD":
      return { ...config, Cmd: argumentsOf(rest) };
    case "ENTRYPOINT":
      return { ...config, Entrypoint: argumentsOf(rest) };
    case "WORKDIR":
      return { ...config, WorkingDir: rest };
    case "USER":
      return { ...config, User: rest };
    case "STOPSIGNAL":
      return { ...config, StopSignal: rest };
    case "ENV": {
      const set = pairsOf(rest, instruction);
      const names = new Set(set.map(([name]) => name));
      const kept = stringsOf(config["Env"]).filter((line) => !names.has(line.split("=", 1)[0] ?? ""));
      return { ...config, Env: [...kept, ...set.map(([name, value]) => `${name}=${value}`)] };
    }
    case "LABEL":
      return {
        ...config,
        Labels: { ...objectOf(config["Labels"]), ...Object.fromEntries(pairsOf(rest, instruction)) },
      };
    case "EXPOSE": {
      const ports = rest.split(/\s+/).map((port) => (port.includes("/") ? port : `${port}/tcp`));
      return { ...config, ExposedPorts: { ...objectOf(config["ExposedPorts"]), ...emptiesOf(ports) } };
    }
    case "VOLUME": {
      const paths = rest.startsWith("[") ? listOf(rest) : rest.split(/\s+/);
      return { ...config, Volumes: { ...objectOf(config["Volumes"]), ...emptiesOf(paths) } };
    }
    default:
      throw invalidArgument(
        `--change ${JSON.stringify(instruction)}: it is CMD, ENTRYPOINT, ENV, WORKDIR, USER, LABEL, EXPOSE, VOLUME or STOPSIGNAL`,
      );
  }
}

function emptiesOf(names: readonly string[]): Record<string, object> {
  return Object.fromEntries(names.map((name) => [name, {}]));
}

/** A list as JSON, or words for a shell. */
function argumentsOf(text: string): string[] {
  return text.startsWith("[") ? listOf(text) : ["/bin/sh", "-c", text];
}

function listOf(text: string): string[] {
  try {
    const value: unknown = JSON.parse(text);
    if (Array.isArray(value) && value.every((item) => typeof item === "string")) return value;
  } catch {
    // Said below.
  }
  throw invalidArgument(`${JSON.stringify(text)} is no list of strings: write it as ["a", "b"]`);
}

/** `NAME=VALUE ...`, values perhaps in quotes; or `NAME VALUE`. */
function pairsOf(text: string, instruction: string): [string, string][] {
  if (!text.includes("=")) {
    const [name = "", ...rest] = text.split(/\s+/);
    if (name !== "" && rest.length > 0) return [[name, rest.join(" ")]];
  }
  const found = [...text.matchAll(/([^\s=]+)=("(?:[^"\\]|\\.)*"|'[^']*'|\S*)/g)];
  if (found.length === 0) throw invalidArgument(`--change ${JSON.stringify(instruction)}: write NAME=VALUE`);
  return found.map(([, name = "", value = ""]) => [name, unquoted(value)]);
}

function unquoted(value: string): string {
  if (value.startsWith('"')) return value.slice(1, -1).replace(/\\(.)/g, "$1");
  return value.startsWith("'") ? value.slice(1, -1) : value;
}

function stringsOf(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((item) => typeof item === "string") : [];
}

function objectOf(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {};
}
