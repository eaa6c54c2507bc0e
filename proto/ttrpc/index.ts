/** ttrpc-ts: a client and server of ttrpc, containerd's RPC protocol for processes of one machine. */

// What follows is for those who bring a transport of their own, or test the wire.
export { Channel, type ChannelHandler, type Transport } from "./channel.ts";
export { type CallOptions, Client, type ConnectOptions } from "./client.ts";
export type { ClientStream, StreamKind, StreamOptions } from "./client-stream.ts";
export { encodeFrame, Flag, FrameDecoder, type FrameSink, FrameType, HEADER_SIZE, MAX_PAYLOAD } from "./frame.ts";
export type { Codec } from "./message.ts";
export { Metadata, type MetadataInit } from "./metadata.ts";
export { Server, type ServerOptions } from "./server.ts";
export { bidi, clientStream, serverStream } from "./server-stream.ts";
export { type CallContext, type Method, type Service, type UnaryHandler, unary } from "./service.ts";
export { Code, codeName, type Status, type StatusDetail, statusOf, TtrpcError } from "./status.ts";
export type { Receiver, Sender } from "./stream.ts";
export type { Address, Listener } from "./transport.ts";
