/** Where the rooms tell what they have done; the exchange is one. */

/** What a room needs of the exchange. */
export interface Publisher {
  /** @param event the name of its message, and its bytes */
  publish(namespace: string, topic: string, event: { name: string; value: Uint8Array }): void;
}
