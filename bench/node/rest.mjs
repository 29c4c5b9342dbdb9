// REST: health, pages of history, sending. The token is checked on every request.

import express from "express";
import { verify } from "./people.mjs";
import { isConnected } from "./models.mjs";
import { log, Refusal } from "./failure.mjs";
import { page, send } from "./messages.mjs";
import { MAX_PACKET_BYTES } from "./settings.mjs";

const STATUS = {
  INVALID_PAYLOAD: 400, INVALID_ID: 400, SELF_CONVERSATION_BLOCKED: 400, CONTENT_TOO_LONG: 413, FORBIDDEN: 403, DM_JOIN_FORBIDDEN: 403,
  CONVERSATION_NOT_FOUND: 404, MESSAGE_NOT_FOUND: 404, CALL_NOT_FOUND: 404, CONFLICT: 409,
};

/** `io` is asked for late: the HTTP server exists before the sockets do. */
export function routes(io) {
  const app = express();
  app.disable("x-powered-by");
  app.disable("etag");
  const signedIn = (request, _response, next) => {
    const given = request.headers.authorization ?? "";
    request.me = verify(given.startsWith("Bearer ") ? given.slice(7) : given);
    next();
  };
  app.get(["/health", "/api/health"], (_request, response) => response.json({ success: true }));
  app.get("/ready", (_request, response) => response.status(isConnected() ? 200 : 503).json({ success: isConnected() }));
  app.get("/api/conversations/:id/messages", signedIn, async (request, response) => {
    const { messages, pagination } = await page(request.me, request.params.id, request.query);
    response.json({ success: true, data: messages, pagination });
  });
  app.post("/api/conversations/:id/messages", signedIn, express.json({ limit: MAX_PACKET_BYTES }), async (request, response) => {
    const payload = { ...request.body, conversationId: request.params.id };
    const { message, repeated } = await send(io(), undefined, request.me, payload);
    response.status(repeated ? 200 : 201).json({ success: true, data: message });
  });
  app.use((_request, response) => response.status(404).json({ success: false, code: "NOT_FOUND", message: "no such route" }));
  // Express knows an error handler by its four parameters.
  app.use((error, _request, response, _next) => {
    log(error);
    const code = error instanceof Refusal ? error.code : "INTERNAL";
    const status = code.startsWith("auth.") ? 401 : (STATUS[code] ?? 500);
    response.status(status).json({ success: false, code, message: error instanceof Refusal ? error.message : "the server made a mistake" });
  });
  return app;
}
