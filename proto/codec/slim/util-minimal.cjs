/**
 * What Reader, Writer and message.ts use of protobufjs' utilities. Floating point and base64 are loaded when they are
 * called first: pressure figures of cgroup v2 are our only floating point, and bytes as text do not occur. There is no
 * pool, which would keep 8 kB for the sake of each small message.
 */
"use strict";

exports.Buffer = null;
exports.Long = null;
exports.recursionLimit = 100;
exports.emptyArray = Object.freeze([]);
exports.emptyObject = Object.freeze({});
exports.utf8 = require("./utf8");
exports.LongBits = require("./longbits");
exports.pool = (alloc) => alloc;
Object.defineProperty(exports, "float", { get: () => require("./float") });
exports.base64 = {
  length: (text) => require("./base64").length(text),
  decode: (text, bytes, offset) => require("./base64").decode(text, bytes, offset),
};
exports.isString = (value) => typeof value === "string" || value instanceof String;
exports.newBuffer = (from) => new Uint8Array(from);
exports.merge = Object.assign;
exports.makeProp = (object, key, enumerable = true) => {
  if (Object.hasOwn(object, key)) return;
  Object.defineProperty(object, key, { enumerable, configurable: true, writable: true });
};
