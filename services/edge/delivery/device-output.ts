/** Declares the output side of a connection, as the delivery to a device needs it. */

export type Frame = string | Uint8Array;

export interface DeviceOutput {
  /** A UUIDv7: the newer of two connections has the higher one. */
  readonly connection_id: string;
  readonly user_id: string;
  readonly device_id: string;
  readonly session_id: string;
  /** More frames are buffered than the device may leave unread. */
  readonly isFull: boolean;
  /** Receives the events of this output. */
  listener: OutputListener | undefined;
  /** Sends a frame at the end of this event-loop turn, together with the others of the turn. */
  send(frame: Frame): void;
  /** Sends what is left, then closes the socket with a code and a reason. */
  close(code: number, reason: string): void;
}

export interface OutputListener {
  /** Called after each flush that leaves room, and when the output is no longer full. */
  onRoom(): void;
  /** Called when nothing can be sent any more, perhaps more than once. */
  onClosed(): void;
}
