/** The optional id of a command, shared by the frames of both directions. */
import Type from 'typebox';

/** Chosen by the client. The answer of the command carries the same id. */
export const CommandId = Type.Optional(Type.String({ maxLength: 64 }));
