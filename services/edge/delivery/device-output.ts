/** The output side of a connection, as the delivery to a device needs it. */

export type Frame = string | Uint8Array;

export interface DeviceOutput {
  /** A UUIDv7: the newer of two connections has the higher one. */
  readonly connection_id: string;
  readonly user_id: string;
  readonly device_id: string;
  readonly session_id: string;
  /** More frames are buffered than the device may leave unread. */
  readonly isFull: boolean;
  /** Is told about room and about the end. */
  listener: OutputListener | undefined;
  /** Sends a frame at the end of this event-loop turn, together with the others of the turn. */
  send(frame: Frame): void;
  /** Sends what is left, then closes the socket with a code and a reason. */
  close(code: number, reason: string): void;
}

export interface OutputListener {
  /** The output is not full, or not full any more. */
  onRoom(): void;
  /** Nothing can be sent any more. May be called more than once. */
  onClosed(): void;
}
