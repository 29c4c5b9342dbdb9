// One process: an HTTP server with the sockets and REST on it. Production settings; nothing is logged but mistakes.

import { createServer } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { Server } from "socket.io";
import { MAX_PACKET_BYTES } from "./settings.mjs";
import { routes } from "./rest.mjs";
import { serve } from "./sockets.mjs";
import { sweep } from "./calls.mjs";
import { connect, disconnect } from "./models.mjs";

/** Makes what serves; `prepare` may give the Socket.IO server an adapter before anybody comes. */
export async function start({ makeIndexes, prepare }) {
  await connect({ makeIndexes });
  let io;
  const http = createServer(routes(() => io));
  http.keepAliveTimeout = 60_000;
  io = new Server(http, {
    perMessageDeflate: false,
    httpCompression: false,
    serveClient: false,
    pingInterval: 25_000,
    pingTimeout: 20_000,
    maxHttpBufferSize: MAX_PACKET_BYTES,
    cors: { origin: "*" },
  });
  prepare?.(io);
  serve(io);
  const endSweep = await sweep(io);
  return { http, io, endSweep };
}

/** Ends the process on the first signal: no new connections, what is under way is stored, then goodbye. */
export function endOnSignal({ io, endSweep }) {
  const end = async () => {
    const patience = setTimeout(() => process.exit(1), 10_000);
    patience.unref();
    endSweep();
    await io.close();
    // What has come is still stored.
    await sleep(300);
    await disconnect();
    process.exit(0);
  };
  for (const signal of ["SIGTERM", "SIGINT"]) process.once(signal, end);
}
