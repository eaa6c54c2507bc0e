/** Fields of events by name, for filters such as `event.container_id==redis`. */

import { containerd, type google } from "../../proto/gen/supervisor.js";

const packages: Readonly<Record<string, object>> = {
  "containerd.events.": containerd.events,
  "containerd.services.images.v1.": containerd.services.images.v1,
};

/** The value of a field path of an event; undefined when the event or the field is unknown, or is no text. */
export function fieldOfEvent(event: google.protobuf.Any.$Properties, path: readonly string[]): string | undefined {
  const url = event.type_url ?? "";
  for (const [start, types] of Object.entries(packages)) {
    const name = url.slice(start.length);
    if (!url.startsWith(start) || !Object.hasOwn(types, name)) continue;
    const type = (types as Record<string, { decode?(bytes: Uint8Array): unknown }>)[name];
    try {
      return textAt(type?.decode?.(event.value ?? new Uint8Array(0)), path);
    } catch {
      return undefined;
    }
  }
  return undefined;
}

function textAt(value: unknown, path: readonly string[]): string | undefined {
  const [first, ...rest] = path;
  if (first === undefined) return typeof value === "string" && value !== "" ? value : undefined;
  if (typeof value !== "object" || value === null) return undefined;
  const fields = value as Record<string, unknown>;
  // Names of labels have dots in them.
  if (first === "labels") return textAt(fields["labels"], rest.length > 0 ? [rest.join(".")] : []);
  // A decoded message inherits what was not sent: names of fields are never those of Object's own.
  return first in Object.prototype ? undefined : textAt(fields[codecName(first)], rest);
}

/** The name that the codec gives to a field of this name in the .proto file: `containerId` for `container_id`. */
function codecName(field: string): string {
  return field.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
}
