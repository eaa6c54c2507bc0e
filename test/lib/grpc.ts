/** The client of containerd's API, with which a test says exactly what goes over the wire. */

export type { CallOptions, MethodName, Request, Response, ServiceName } from "../../supervisor/client/api.ts";
export { GrpcClient, isServiceError } from "../../supervisor/client/grpc.ts";
