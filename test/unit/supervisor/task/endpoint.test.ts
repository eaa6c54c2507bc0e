/** Answers of `start` in every dialect, and bootstrap.json. */

import { describe, expect, test } from "bun:test";
import { containerd } from "../../../../proto/gen/supervisor.js";
import { endpointText, parseEndpoint, qualifiedAddress, socketName } from "../../../../supervisor/task/endpoint.ts";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const address = "unix:///run/containerd/s/0123";

describe("the answer of start (ST-4)", () => {
  test("a plain address is version 2 over ttrpc", () => {
    expect(parseEndpoint(bytes(`${address}\n`))).toEqual({ version: 2, protocol: "ttrpc", address });
  });

  test("JSON says version and protocol", () => {
    const text = JSON.stringify({ version: 3, address, protocol: "TTRPC" });
    expect(parseEndpoint(bytes(text))).toEqual({ version: 3, protocol: "ttrpc", address });
  });

  test("JSON below version 2 is no endpoint, as containerd has it", () => {
    const text = JSON.stringify({ version: 1, address });
    expect(parseEndpoint(bytes(text))).toEqual({ version: 2, protocol: "ttrpc", address: text });
  });

  test("a BootstrapResult is protobuf", () => {
    const { BootstrapResult } = containerd.runtime.bootstrap.v1;
    const answer = BootstrapResult.encode({ version: 3, address, protocol: "ttrpc" }).finish();
    expect(parseEndpoint(answer)).toEqual({ version: 3, protocol: "ttrpc", address });
  });

  test("an unknown version is refused in containerd's words", () => {
    const text = JSON.stringify({ version: 4, address, protocol: "ttrpc" });
    expect(() => parseEndpoint(bytes(text))).toThrow("unsupported shim version (4): not implemented");
  });
});

test("bootstrap.json has containerd's order of fields", () => {
  expect(endpointText({ version: 3, protocol: "ttrpc", address })).toBe(
    `{"version":3,"address":"${address}","protocol":"ttrpc"}`,
  );
});

test("an address is a path, an abstract name, or refused", () => {
  expect(socketName(address)).toBe("/run/containerd/s/0123");
  expect(socketName("/containerd-shim/x.sock")).toBe("\0/containerd-shim/x.sock");
  expect(() => socketName("vsock://3:1024")).toThrow("only unix sockets");
  expect(qualifiedAddress({ version: 3, protocol: "ttrpc", address })).toBe(`ttrpc+${address}`);
});
