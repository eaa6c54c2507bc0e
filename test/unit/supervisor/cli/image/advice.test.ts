/** What a person is told to do about an error of a registry. */

import { expect, test } from "bun:test";
import { registryAdvice } from "../../../../../supervisor/cli/image/advice.ts";

const url = (host: string, path: string) => `http://${host}/v2/${path}/manifests/1`;

test("an error is told by what the registry answered", () => {
  const host = "registry.example:5000";
  const name = `${host}/team/app:1`;
  const about = (text: string, verb: "pull" | "push" = "pull") => registryAdvice(text, name, verb);
  const status = (code: string) => `unexpected status from HEAD request to ${url(host, "team/app")}: ${code}`;
  expect(about(`failed to resolve image: ${name}: not found`)).toBe(
    `check the name and the tag: ${host} does not have it`,
  );
  expect(about(status("404 Not Found"), "push")).toBe(`check the name of the repository at ${host}`);
  expect(about(status("401 Unauthorized"))).toBe(`check the name, or log in: berth login ${host}`);
  expect(about(status("403"))).toBe(`check the name, or log in: berth login ${host}`);
  expect(about(`failed to do request: Head "${url(host, "a")}": tls: failed to verify certificate: x509`)).toContain(
    "/etc/berth/certs.d",
  );
  expect(about(`Head "${url(host, "a")}": dial tcp ${host}: connect: connection refused`)).toContain(
    "is the network up",
  );
  expect(about("write /var/lib/x: no space left on device")).toContain("the disk is full");
  expect(about("something else")).toBeUndefined();
});

test("names, ports and digests that look like an error are none", () => {
  const hosts = ["127.0.0.1:34033", "127.0.0.1:403", "denied.example", "127.0.0.1:40100"];
  const paths = ["team/nosuch", "team/disk", "unauthorized", "x509/ssl"];
  for (const host of hosts) {
    for (const path of paths) {
      const name = `${host}/${path}:1`;
      for (const error of [`failed to resolve image: ${name}: not found`, `content at ${url(host, path)} not found`]) {
        expect(registryAdvice(error, name, "pull")).toBe(`check the name and the tag: ${host} does not have it`);
      }
      expect(registryAdvice(`unexpected commit of ${name} from ${url(host, path)}`, name, "pull")).toBeUndefined();
    }
  }
  const digest = `sha256:${"403".repeat(21)}4`;
  expect(registryAdvice(`blob ${digest} is damaged`, `a.example/b@${digest}`, "pull")).toBeUndefined();
});
