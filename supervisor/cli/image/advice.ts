/** What to say where a daemon lacks what a verb needs, or a registry refuses. */

import { lacksTransfer } from "../../client/transfer.ts";
import { parseDockerName } from "../../image/reference.ts";

/** The error, or one line about it when the daemon has no Transfer service. */
export function withoutTransfer(error: unknown): unknown {
  return lacksTransfer(error)
    ? new Error("this daemon is too old for it: it needs containerd 1.7 or later, or berthd (its Transfer service)")
    : error;
}

/**
 * What a person can do about an error of a registry; undefined when nothing is known to help.
 * @param error what the daemon said
 * @param reference the image that was asked for
 */
export function registryAdvice(error: string, reference: string, verb: "pull" | "push"): string | undefined {
  const host = parseHost(reference);
  const text = withoutNames(error, reference, host);
  if (
    /unauthorized|authorization failed|\b401\b|no basic auth credentials|insufficient_scope|denied|\b403\b/i.test(text)
  ) {
    return `check the name, or log in: berth login ${host}`;
  }
  if (/not found|\b404\b|manifest unknown/i.test(text)) {
    return verb === "pull"
      ? `check the name and the tag: ${host} does not have it`
      : `check the name of the repository at ${host}`;
  }
  if (/certificate|x509|self.signed|unable to verify/i.test(text)) {
    return `add the registry's certificate to /etc/berth/certs.d/${host}/ca.crt, or use --insecure to trust whoever answers`;
  }
  if (/server gave HTTP response to HTTPS|wrong version number|EPROTO|ssl/i.test(text)) {
    return `${host} may speak plain HTTP: --plain-http uses it`;
  }
  if (
    /no such host|ENOTFOUND|EAI_AGAIN|lookup|ECONNREFUSED|refused|timed? ?out|unreachable|no answer|connect/i.test(text)
  ) {
    return `is the network up, and is ${host} right? what was fetched is kept: the same command goes on from there`;
  }
  if (/no match for platform|no manifest|filtered out/i.test(text)) {
    return "the image is not made for this platform: --platform chooses another";
  }
  if (/no space left|ENOSPC|disk/i.test(text))
    return "the disk is full: berth system df shows what could go, berth prune removes it";
  return undefined;
}

/** Names and numbers in them may look like an error: a port 34033 is no status 403, an image `disk` no full disk. */
function withoutNames(text: string, reference: string, host: string): string {
  return text
    .replace(/\bhttps?:\/\/[^\s"]*[^\s":]/g, "")
    .replaceAll(reference, "")
    .replaceAll(host, "")
    .replace(/\bsha\d+:[0-9a-f]+/g, "");
}

function parseHost(reference: string): string {
  try {
    return parseDockerName(reference).domain;
  } catch {
    return reference.split("/", 1)[0] ?? reference;
  }
}
