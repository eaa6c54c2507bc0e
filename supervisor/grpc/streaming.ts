/** The Streaming service: streams that clients open beside their calls, and name in them. */

import { ContainerdError, invalidArgument } from "../../proto/errdefs.ts";
import { containerd } from "../../proto/gen/supervisor.js";
import { Code } from "../../proto/ttrpc/status.ts";
import { typeName } from "../../proto/typeurl.ts";
import { type Message, Stream, type Streams } from "../image/stream/streams.ts";
import { EncodedBatch, type Handlers } from "./server.ts";

const { StreamInit } = containerd.services.streaming.v1;
const INIT = "containerd.services.streaming.v1.StreamInit";
/** Says that a stream is ready. */
const READY: Message = { type_url: "google.protobuf.Empty", value: new Uint8Array() };
/** Longest id of a stream. */
const MAX_ID = 1024;

export function streamingService(streams: Streams): Handlers<"containerd.services.streaming.v1.Streaming"> {
  return {
    async *Stream(requests, { namespace, signal }) {
      const incoming = requests[Symbol.asyncIterator]();
      const first = await incoming.next();
      if (first.done) throw new ContainerdError(Code.Unknown, "EOF");
      if (typeName(first.value) !== INIT) {
        throw invalidArgument(`the first message of a stream must be ${INIT}: invalid argument`);
      }
      const { id } = StreamInit.decode(first.value.value ?? new Uint8Array());
      if (id === "" || id.length > MAX_ID)
        throw invalidArgument("the id of a stream is missing or too long: invalid argument");
      const stream = new Stream(incoming, signal);
      streams.register(namespace, id, stream);
      try {
        yield READY;
        for await (const messages of stream.outgoing()) yield new EncodedBatch(messages);
      } finally {
        stream.close();
        streams.remove(namespace, id);
      }
    },
  };
}
