/** Codes of closed sockets that decide what this side does next. */
/** This side closes. */
export const LEFT = 1000;
export const UNAUTHENTICATED = 4401;
export const FORBIDDEN = 4403;
export const REPLACED = 4409;
export const TOO_MANY_COMMANDS = 4429;
