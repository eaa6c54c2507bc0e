/** What the daemon says it is. */

/**
 * The version of containerd whose API this is: clients decide by it what they may ask for. From 2.0.0 on they use the
 * Transfer and Streaming services.
 */
export const apiVersion = "2.1.0+berth";

/** Names berth as what answers. */
export const apiRevision = "berth";
