/**
 * protobufjs/minimal without the RPC service, promises, event emitter and roots of static modules, and without the
 * variants of Reader and Writer that work on Buffer.
 */
"use strict";

exports.Writer = require("./writer");
exports.Reader = require("./reader");
exports.util = require("./util/minimal");
const none = { _configure() {} };
exports.util.LongBits._configure(null);
exports.Writer._configure(none);
exports.Reader._configure(none);
