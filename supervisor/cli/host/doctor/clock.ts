/** The clock: registries' certificates and everybody's logs depend on it. */

import { outputOf } from "../runtimes.ts";
import { area, type Diagnosis, type Place } from "./check.ts";
import { programPath, textOf } from "./read.ts";

const { ok, warn, fail } = area("clock");

/** Nobody can have installed this before it was made. */
const FIRST_YEAR = 2024;
const LAST_YEAR = 2100;

export async function lookAtClock(place: Place, now = new Date()): Promise<Diagnosis[]> {
  return [year(now), await synchronised(), source(place)];
}

function year(now: Date): Diagnosis {
  const text = now.toISOString();
  if (now.getUTCFullYear() >= FIRST_YEAR && now.getUTCFullYear() < LAST_YEAR) return ok("time", text);
  return fail(
    "time",
    `${text} cannot be: certificates of registries will not be believed`,
    "set it (date -s), and let NTP keep it: apt-get install systemd-timesyncd or chrony",
  );
}

async function synchronised(): Promise<Diagnosis> {
  const said =
    programPath("timedatectl") && (await outputOf(["timedatectl", "show", "--property=NTPSynchronized", "--value"]));
  if (said?.trim() === "yes") return ok("synchronised", "by NTP");
  const chrony = programPath("chronyc") && (await outputOf(["chronyc", "-n", "tracking"]));
  if (chrony && /Leap status\s*:\s*Normal/.test(chrony)) return ok("synchronised", "by chrony");
  if (said === undefined && chrony === undefined) {
    return warn(
      "synchronised",
      "nobody here can tell",
      "apt-get install chrony or systemd-timesyncd, unless the host of this machine keeps its clock",
    );
  }
  return warn("synchronised", "no", "timedatectl set-ntp true, and let port 123 (UDP) out");
}

function source(place: Place): Diagnosis {
  const name = textOf(place, "/sys/devices/system/clocksource/clocksource0/current_clocksource")?.trim();
  return ok("source", name || "unknown");
}
