/** What an image says of the containers that are made of it. Whoever made the image wrote it: types are checked. */

import type { HealthConfig } from "./health.ts";

/** The configuration of an image (image-spec, config.md), with docker's health check. */
export interface ImageDefaults {
  readonly entrypoint: readonly string[];
  readonly command: readonly string[];
  readonly env: readonly string[];
  readonly workdir: string;
  readonly user: string;
  readonly stopSignal: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Such as `80/tcp`. */
  readonly exposedPorts: readonly string[];
  readonly volumes: readonly string[];
  readonly health: Partial<HealthConfig> | undefined;
}

type Json = Readonly<Record<string, unknown>>;

const NS_PER_MS = 1e6;

/** Reads the `config` of an image's configuration; what is of a wrong type counts as absent. */
export function imageDefaults(document: Json): ImageDefaults {
  const config = objectOf(document["config"]);
  return {
    entrypoint: stringsOf(config["Entrypoint"]),
    command: stringsOf(config["Cmd"]),
    env: stringsOf(config["Env"]),
    workdir: textOf(config["WorkingDir"]),
    user: textOf(config["User"]),
    stopSignal: textOf(config["StopSignal"]),
    labels: Object.fromEntries(
      Object.entries(objectOf(config["Labels"])).filter(
        (entry): entry is [string, string] => typeof entry[1] === "string",
      ),
    ),
    exposedPorts: Object.keys(objectOf(config["ExposedPorts"])),
    volumes: Object.keys(objectOf(config["Volumes"])).filter((path) => path.startsWith("/")),
    health: healthOf(objectOf(config["Healthcheck"])),
  };
}

function healthOf(check: Json): Partial<HealthConfig> | undefined {
  const test = stringsOf(check["Test"]);
  if (test.length === 0 || test[0] === "NONE") return undefined;
  const ms = (name: string): number | undefined => {
    const value = check[name];
    return typeof value === "number" && value > 0 ? value / NS_PER_MS : undefined;
  };
  const retries = check["Retries"];
  const times = {
    interval: ms("Interval"),
    timeout: ms("Timeout"),
    start_period: ms("StartPeriod"),
    start_interval: ms("StartInterval"),
    retries: typeof retries === "number" && retries > 0 ? retries : undefined,
  };
  return { test, ...Object.fromEntries(Object.entries(times).filter(([, value]) => value !== undefined)) };
}

function objectOf(value: unknown): Json {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Json) : {};
}

function stringsOf(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((item): item is string => typeof item === "string") : [];
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : "";
}
