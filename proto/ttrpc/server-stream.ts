/** Streaming methods of a server. A server without them need not load this file. */

import { Flag } from "./frame.ts";
import { type Codec, messageOf } from "./message.ts";
import type { CallContext, StreamCall, StreamMethod, StreamSink } from "./service.ts";
import { Code, TtrpcError } from "./status.ts";
import { ReceiveBuffer, type Receiver, type Sender, SendQueue } from "./stream.ts";

type Decoder<Message> = Pick<Codec<never, Message>, "decode">;
type Encoder<Message> = Pick<Codec<Message, unknown>, "encode">;

/** Describes a method that takes one request and answers with a stream; it ends when the handler returns. */
export function serverStream<Request, Response>(
  request: Decoder<Request>,
  response: Encoder<Response>,
  handler: (request: Request, responses: Sender<Response>, context: CallContext) => PromiseLike<void> | void,
): StreamMethod {
  return {
    kind: "stream",
    open(call, _flags, payload) {
      const stream = new ServerStream(call, request, response, false);
      const message = decodeRequest(request, payload);
      stream.run(async () => {
        await handler(message, stream.sender, call);
        return undefined;
      });
      return stream;
    },
  };
}

/** Describes a method that takes a stream and answers with what the handler returns. */
export function clientStream<Request, Response>(
  request: Decoder<Request>,
  response: Encoder<Response>,
  handler: (requests: Receiver<Request>, context: CallContext) => PromiseLike<Response> | Response,
): StreamMethod {
  return {
    kind: "stream",
    open(call, flags, payload) {
      const stream = new ServerStream(call, request, response, true);
      stream.first(flags, payload);
      stream.run(async () => {
        const message = await handler(stream.receiver, call);
        return encodeResponse(response, message);
      });
      return stream;
    },
  };
}

/** Describes a method with streams both ways; the outgoing one ends when the handler returns. */
export function bidi<Request, Response>(
  request: Decoder<Request>,
  response: Encoder<Response>,
  handler: (requests: Receiver<Request>, responses: Sender<Response>, context: CallContext) => PromiseLike<void> | void,
): StreamMethod {
  return {
    kind: "stream",
    open(call, flags, payload) {
      const stream = new ServerStream(call, request, response, true);
      stream.first(flags, payload);
      stream.run(async () => {
        await handler(stream.receiver, stream.sender, call);
        return undefined;
      });
      return stream;
    },
  };
}

function decodeRequest<Request>(codec: Decoder<Request>, payload: Uint8Array): Request {
  try {
    return codec.decode(payload);
  } catch (error) {
    throw new TtrpcError(Code.Internal, `ttrpc: error unmarshalling payload: ${messageOf(error)}`);
  }
}

function encodeResponse<Response>(codec: Encoder<Response>, message: Response): Uint8Array {
  try {
    return codec.encode(message).finish();
  } catch (error) {
    throw new TtrpcError(Code.Internal, `ttrpc: error marshalling the response: ${messageOf(error)}`);
  }
}

class ServerStream<Request, Response> implements StreamSink {
  readonly receiver: ReceiveBuffer<Request>;
  readonly sender: SendQueue<Response>;
  readonly #call: StreamCall;
  readonly #takesData: boolean;

  constructor(call: StreamCall, request: Decoder<Request>, response: Encoder<Response>, takesData: boolean) {
    this.#call = call;
    this.#takesData = takesData;
    this.receiver = new ReceiveBuffer(request, call.channel, (error) => call.abort(error, true));
    this.sender = new SendQueue(response, call.channel, (frame) => call.sendFrame(frame));
    this.sender.streamId = call.streamId;
  }

  /**
   * Takes what the request frame itself carries. A payload is the first message, as for Go's server; a request with no
   * flags comes from a caller that knows only unary calls: one message, which may be empty, and no more.
   */
  first(flags: number, payload: Uint8Array): void {
    if (payload.length > 0 || flags === 0) this.receiver.push(payload);
    if (!(flags & Flag.RemoteOpen)) this.receiver.end();
  }

  /** Runs the handler; its result, where it has one, is the payload of the response that ends the call. */
  run(handle: () => Promise<Uint8Array | undefined>): void {
    // The handler starts after the server has taken note of the stream.
    void Promise.resolve()
      .then(handle)
      .then(
        (payload) => (payload === undefined ? this.#call.finish() : this.#call.respond(payload)),
        (error: unknown) => this.#call.fail(error),
      )
      .finally(() => {
        const over = new TtrpcError(Code.Canceled, "the call has ended");
        this.receiver.drop(over);
        this.sender.close(over);
        this.#call.settled();
      });
  }

  data(flags: number, payload: Uint8Array): void {
    const closes = (flags & Flag.RemoteClosed) !== 0;
    // A frame without the NoData flag carries a message, be it of zero bytes, also when it closes the stream.
    const carries = !(flags & Flag.NoData);
    if (carries && (!this.#takesData || this.receiver.isEnded)) {
      const text = this.#takesData ? "data after the stream was closed" : "data on a stream that takes none";
      this.#call.abort(new TtrpcError(Code.InvalidArgument, text), true);
      return;
    }
    if (carries) this.receiver.push(payload);
    if (closes) this.receiver.end();
  }

  aborted(error: Error): void {
    this.receiver.drop(error);
    this.sender.close(error);
  }
}
