/** A client's streams. Loaded by {@link Client.stream} when the first is opened. */

import { type CallOptions, type Client, type Pending, pairsOf, Watch } from "./client.ts";
import { encodeFrame, Flag, FrameType } from "./frame.ts";
import { type Codec, decodeResponse } from "./message.ts";
import { Code, TtrpcError } from "./status.ts";
import { ReceiveBuffer, SendQueue } from "./stream.ts";

/** Which sides send more than one message. */
export type StreamKind = "client" | "server" | "bidi";

/** How a stream is opened. */
export interface StreamOptions<Request> extends CallOptions {
  readonly kind: StreamKind;
  /** The request of a "server" stream, which has exactly one. */
  readonly request?: Request;
}

/** A stream that a client has opened. Send with {@link send}, end with {@link closeSend}, read with `for await`. */
export class ClientStream<Request, Response> implements Pending, AsyncIterable<Response> {
  readonly #client: Client;
  readonly #kind: StreamKind;
  readonly #receiver: ReceiveBuffer<Response>;
  readonly #sender: SendQueue<Request>;
  readonly #watch: Watch | undefined;
  #streamId = 0;
  #localClosed = false;
  #over = false;

  /** @internal Use {@link Client.stream}. */
  constructor(
    client: Client,
    service: string,
    method: string,
    request: Pick<Codec<Request, unknown>, "encode">,
    response: Pick<Codec<never, Response>, "decode">,
    options: StreamOptions<Request>,
  ) {
    this.#client = client;
    this.#kind = options.kind;
    this.#receiver = new ReceiveBuffer(response, client.channel, (error) => this.#abandon(error));
    this.#sender = new SendQueue(request, client.channel, (frame) => client.channel.send(frame));
    let payload: Uint8Array | undefined;
    if (options.kind === "server") {
      if (options.request === undefined) {
        throw new TtrpcError(Code.InvalidArgument, "a server stream needs its request when it is opened");
      }
      payload = request.encode(options.request).finish();
      this.#closeLocal();
    }
    if (options.timeoutMs !== undefined || options.signal !== undefined) {
      this.#watch = new Watch(options, (error) => this.#abandon(error));
    }
    const { timeoutMs } = options;
    try {
      const flags = this.#localClosed ? Flag.RemoteClosed : Flag.RemoteOpen;
      const metadata = pairsOf(options.metadata);
      this.#streamId = client.begin(this, flags, { service, method, payload, timeoutMs, metadata });
    } catch (error) {
      this.#watch?.stop();
      throw error;
    }
    this.#sender.streamId = this.#streamId;
  }

  /**
   * Sends a message; resolves when there is room for the next.
   * @throws {TtrpcError} (as a rejection) FailedPrecondition after {@link closeSend}; ResourceExhausted when the message
   * exceeds 4 MiB; the reason of the stream's end when it has ended
   */
  send(message: Request): Promise<void> {
    return this.#sender.send(message);
  }

  /** Tells the server that no more messages come. Reading goes on. */
  closeSend(): void {
    if (this.#localClosed) return;
    this.#closeLocal();
    const flags = Flag.RemoteClosed | Flag.NoData;
    this.#client.channel.send(encodeFrame(this.#streamId, FrameType.Data, flags));
  }

  #closeLocal(): void {
    this.#localClosed = true;
    this.#sender.close(new TtrpcError(Code.FailedPrecondition, "this side of the stream is closed"));
  }

  /**
   * The next message, or undefined when the server sends no more.
   * @throws {TtrpcError} why the stream failed, after the messages that came before
   */
  receive(): Promise<Response | undefined> {
    return this.#receiver.receive();
  }

  /** Messages until the server's last. Leaving the loop early gives the stream up. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Response, void, undefined> {
    try {
      for await (const message of this.#receiver) yield message;
    } finally {
      this.cancel();
    }
  }

  /**
   * Ends this side and waits for the one response of a "client" stream.
   * @throws {TtrpcError} why the stream failed; Internal when the server ended it without a response
   */
  async finish(): Promise<Response> {
    this.closeSend();
    const response = await this.receive();
    if (response === undefined) throw new TtrpcError(Code.Internal, "the stream ended without a response");
    return response;
  }

  /** Gives the stream up; whoever reads or sends is told Canceled. Does nothing on a stream that has ended. */
  cancel(): void {
    this.#abandon(new TtrpcError(Code.Canceled, "context canceled"));
  }

  /** Leaves the stream while the server may go on with it: what still comes for it is dropped. */
  #abandon(error: TtrpcError): void {
    if (this.#over) return;
    // The nearest thing to a cancellation that ttrpc has: the server's handler sees the end of its requests.
    this.closeSend();
    this.#client.forget(this.#streamId);
    this.#finished();
    this.#receiver.drop(error);
    this.#sender.close(error);
  }

  #finished(): void {
    this.#over = true;
    this.#watch?.stop();
  }

  /** @internal */
  response(payload: Uint8Array): void {
    this.#finished();
    const body = decodeResponse(payload);
    const error = body instanceof TtrpcError ? body : undefined;
    // A stream of responses may end with an empty response, which is no message (PROTOCOL.md "Streaming").
    if (body instanceof Uint8Array && (this.#kind === "client" || body.length > 0)) this.#receiver.push(body);
    this.#end(error);
  }

  /** @internal */
  data(flags: number, payload: Uint8Array): void {
    if (this.#kind === "client") {
      this.#abandon(new TtrpcError(Code.Internal, "the server sent a stream where one response was due"));
      return;
    }
    if (!(flags & Flag.NoData)) this.#receiver.push(payload);
    if (!(flags & Flag.RemoteClosed) || this.#over) return;
    this.#client.forget(this.#streamId);
    this.#finished();
    this.#end(undefined);
  }

  #end(error: TtrpcError | undefined): void {
    this.#localClosed = true;
    this.#receiver.end(error);
    this.#sender.close(error ?? new TtrpcError(Code.Canceled, "the server has ended the stream"));
  }

  /** @internal */
  failed(error: TtrpcError): void {
    this.#finished();
    this.#end(error);
  }
}

/** @internal Opens a stream; see {@link Client.stream}. */
export function openStream<Request, Response>(
  client: Client,
  service: string,
  method: string,
  request: Pick<Codec<Request, unknown>, "encode">,
  response: Pick<Codec<never, Response>, "decode">,
  options: StreamOptions<Request>,
): ClientStream<Request, Response> {
  return new ClientStream(client, service, method, request, response, options);
}
