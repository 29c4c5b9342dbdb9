// A refusal the client can act on; anything else that is thrown is told as INTERNAL.

export class Refusal extends Error {
  constructor(code, message = code, extra = {}) {
    super(message);
    this.code = code;
    this.extra = extra;
  }
}

export const answerTo = (error) =>
  error instanceof Refusal
    ? { ok: false, code: error.code, message: error.message, ...error.extra }
    : { ok: false, code: "INTERNAL", message: "the server made a mistake" };

export function log(error) {
  if (!(error instanceof Refusal)) console.error(error);
}

/** Text of one of these fields, the first that is there; undefined when none is. */
export function text(payload, ...names) {
  for (const name of names) {
    const value = payload[name];
    if (typeof value === "string" && value) return value;
    if (value !== undefined && value !== null && value !== "") throw new Refusal("INVALID_PAYLOAD", `${name} must be text`);
  }
  return undefined;
}

export function objectOf(payload) {
  if (payload === null || typeof payload !== "object" || Array.isArray(payload)) {
    throw new Refusal("INVALID_PAYLOAD", "the first argument must be an object");
  }
  return payload;
}
