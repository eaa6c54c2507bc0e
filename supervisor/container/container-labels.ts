/** The labels of a new container. */

import { invalidArgument } from "../../proto/errdefs.ts";
import { type HealthConfig, healthDefaults } from "./health.ts";
import type { RunImage } from "./image.ts";
import { labels as names } from "./labels.ts";
import { logUri } from "./log-uri.ts";
import type { RunOptions } from "./options.ts";
import type { Place } from "./place.ts";
import { signalNumber } from "./signals.ts";

/** What the labels are made of. */
export interface LabelInput {
  readonly id: string;
  readonly namespace: string;
  readonly options: RunOptions;
  readonly image: Pick<RunImage, "defaults" | "name">;
  /** Of the daemon. */
  readonly place: Pick<Place, "root" | "state">;
  readonly network: Readonly<Record<string, string>>;
  readonly anonymousVolumes: readonly string[];
}

/** Longest key and value together. */
const MAX_LABEL = 4096;

/** @throws ContainerdError InvalidArgument for options that do not fit, or are too long to be kept */
export function containerLabels(input: LabelInput): Record<string, string> {
  const { id, namespace, options, image, place, network, anonymousVolumes } = input;
  const fits = ([key, value]: [string, string]): boolean =>
    Buffer.byteLength(key) + Buffer.byteLength(value) <= MAX_LABEL;
  const labels: Record<string, string> = {
    // An image's labels are a favour; one that is too long is left out.
    ...Object.fromEntries(Object.entries(image.defaults.labels).filter(fits)),
    ...options.labels,
    ...network,
  };
  const log = logUri(place, namespace, id, options.log);
  if (log !== "") labels[names.log] = log;
  const { restart, app } = options;
  if (restart !== undefined && (restart.name !== "no" || app !== undefined)) {
    if (options.autoRemove)
      throw invalidArgument("--rm and --restart at once: a container that is removed cannot come back");
    const { name, maximum = 0 } = restart;
    labels[names.restart.policy] = maximum > 0 ? `${name}:${maximum}` : name;
    if (log !== "") labels[names.restart.logUri] = log;
  }
  const health = healthOf(options, image);
  if (health !== undefined) labels[names.health] = JSON.stringify(health);
  if (options.dependsOn?.length) labels[names.dependsOn] = JSON.stringify(options.dependsOn);
  if (app !== undefined) {
    Object.assign(labels, {
      // Nobody but the restart monitor starts it.
      [names.restart.status]: "running",
      [names.app]: app.name,
      [names.appService]: app.service,
      [names.appRevision]: app.revision,
      [names.appHash]: app.hash,
      [names.composeProject]: app.name,
      [names.composeService]: app.service,
    });
  }
  const stopSignal = options.stopSignal ?? image.defaults.stopSignal;
  if (stopSignal !== "") labels[names.stopSignal] = String(stopSignalOf(stopSignal, options.stopSignal !== undefined));
  if (options.stopTimeout !== undefined) labels[names.stopTimeout] = String(options.stopTimeout);
  if (options.autoRemove) labels[names.autoRemove] = "true";
  if (options.networkMode) labels[names.networkMode] = options.networkMode;
  if (options.stdin) labels[names.stdin] = "true";
  if (anonymousVolumes.length > 0) labels[names.anonymousVolumes] = JSON.stringify(anonymousVolumes);
  for (const [key, value] of Object.entries(labels)) {
    if (!fits([key, value])) {
      throw invalidArgument(`label ${key.slice(0, 64)} is too long: key and value have ${MAX_LABEL} bytes together`);
    }
  }
  return labels;
}

/** Docker's rules: options win over the image, each time by itself. */
function healthOf({ health }: RunOptions, { defaults }: LabelInput["image"]): HealthConfig | undefined {
  if (health === null) return undefined;
  const given = Object.fromEntries(Object.entries(health ?? {}).filter(([, value]) => value !== undefined));
  const all = { ...healthDefaults, ...defaults.health, ...given } as HealthConfig & { test?: readonly string[] };
  if (all.test === undefined || all.test.length === 0) {
    if (Object.keys(given).length > 0) {
      throw invalidArgument("options of a health check, and no check: give --health-cmd, or an image that has one");
    }
    return undefined;
  }
  return all.test[0] === "NONE" ? undefined : all;
}

/** An image's own signal may be nonsense; then it is SIGTERM's turn. */
function stopSignalOf(text: string, isGiven: boolean): number {
  try {
    return signalNumber(text);
  } catch (error) {
    if (isGiven) throw error;
    return signalNumber("TERM");
  }
}
