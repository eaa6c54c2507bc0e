/** The kit's own frames, against bytes written down by hand from ttrpc's PROTOCOL.md, and against ttrpc-ts. */

import { describe, expect, test } from "bun:test";
import { ttrpc } from "../../../proto/gen/ttrpc.js";
import { encodeFrame } from "../../../proto/ttrpc/index.ts";
import {
  bytesField,
  concat,
  decodeRequest,
  decodeResponse,
  encodeRequest,
  encodeResponse,
  FrameReader,
  frame,
  readFields,
  StatusError,
  varintField,
} from "../../conformance/rig/wire.ts";

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);

describe("frames", () => {
  test("have ten bytes of header, big endian", () => {
    expect(frame(0x01020304, 1, utf8("ab"), 4).toHex()).toBe("00000002010203040104" + "6162");
  });

  test("are those of ttrpc-ts", () => {
    expect(frame(7, 2, utf8("hello")).toHex()).toBe(new Uint8Array(encodeFrame(7, 2, 0, utf8("hello"))).toHex());
  });

  test("are cut from pieces of any size", () => {
    const bytes = concat(frame(1, 1, utf8("first")), frame(3, 2, new Uint8Array()), frame(5, 3, utf8("x"), 1));
    for (const size of [1, 2, 7, 100]) {
      const reader = new FrameReader();
      const found = [];
      for (let at = 0; at < bytes.length; at += size) found.push(...reader.push(bytes.subarray(at, at + size)));
      expect(found.map(({ stream, type, flags, payload }) => [stream, type, flags, payload.length])).toEqual([
        [1, 1, 0, 5],
        [3, 2, 0, 0],
        [5, 3, 1, 1],
      ]);
    }
  });

  test("that announce more than a peer may send are refused", () => {
    expect(() => new FrameReader().push(new Uint8Array([0xff, 0, 0, 0, 0, 0, 0, 1, 2, 0]))).toThrow(
      "more than 4194304",
    );
  });
});

describe("fields", () => {
  test("integers have seven bits a byte; a negative one ten bytes", () => {
    expect(varintField(3, 300).toHex()).toBe("18ac02");
    expect(varintField(3, -4n).toHex()).toBe("18fcffffffffffffffff01");
    expect(readFields(varintField(3, -4n))[0]?.value).toBe(0xffff_ffff_ffff_fffcn);
  });

  test("what is no message throws", () => {
    for (const hex of ["0a05", "ff", "00", "0f", "0dff", "0affffffff0f"]) {
      expect(() => readFields(Uint8Array.fromHex(hex))).toThrow();
    }
  });
});

describe("envelopes", () => {
  const parts = { service: "s.S", method: "M", payload: utf8("p"), timeoutMs: 1.5, metadata: { k: "v" } };

  test("a request is what ttrpc-ts reads", () => {
    const read = ttrpc.Request.decode(encodeRequest(parts));
    expect([read.service, read.method, new TextDecoder().decode(read.payload)]).toEqual(["s.S", "M", "p"]);
    expect(read.metadata.map(({ key, value }) => [key, value])).toEqual([["k", "v"]]);
    expect(encodeRequest(parts).toHex()).toContain("20e0c65b");
    expect(decodeRequest(encodeRequest(parts))).toMatchObject({ service: "s.S", method: "M", metadata: { k: "v" } });
  });

  test("a response has a payload, or a status", () => {
    expect(decodeResponse(encodeResponse(utf8("x")))).toEqual(utf8("x"));
    expect(decodeResponse(new Uint8Array())).toEqual(new Uint8Array());
    let error: unknown;
    try {
      decodeResponse(encodeResponse(new Uint8Array(), 5, "not there"));
    } catch (caught) {
      error = caught;
    }
    expect(error).toBeInstanceOf(StatusError);
    expect(error).toMatchObject({ code: 5, message: "not there" });
  });

  test("a status of OK is none", () => {
    expect(decodeResponse(concat(bytesField(1, varintField(1, 0)), bytesField(2, "x")))).toEqual(utf8("x"));
  });
});
