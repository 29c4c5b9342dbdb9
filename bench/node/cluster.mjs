// Several processes behind one port: node cluster.mjs, WORKERS=2. The primary hands each connection to a worker and keeps a session
// with it (@socket.io/sticky); what one worker emits reaches the sockets of the others through it (@socket.io/cluster-adapter).

import cluster from "node:cluster";
import { createServer } from "node:http";
import sticky from "@socket.io/sticky";
import { createAdapter, setupPrimary } from "@socket.io/cluster-adapter";
import { settings } from "./settings.mjs";
import { endOnSignal, start } from "./app.mjs";
import { connect, disconnect } from "./models.mjs";

if (cluster.isPrimary) {
  await connect({ makeIndexes: true });
  await disconnect();
  const http = createServer();
  sticky.setupMaster(http, { loadBalancingMethod: "least-connection" });
  setupPrimary();
  cluster.setupPrimary({ serialization: "advanced" });
  let waiting = settings.workers;
  cluster.on("message", (_worker, message) => {
    if (message !== "ready" || --waiting > 0) return;
    http.listen(settings.port, settings.host, 4096, () => console.log(`listening on http://${settings.host}:${http.address().port}`));
  });
  cluster.on("exit", (worker) => {
    console.error(`worker ${worker.process.pid} has gone`);
    process.exit(1);
  });
  for (let count = 0; count < settings.workers; count++) cluster.fork();
  for (const signal of ["SIGTERM", "SIGINT"]) {
    process.once(signal, () => {
      cluster.removeAllListeners("exit");
      for (const worker of Object.values(cluster.workers)) worker.process.kill("SIGTERM");
      cluster.on("exit", () => Object.keys(cluster.workers).length === 0 && process.exit(0));
      http.close();
    });
  }
} else {
  const app = await start({
    makeIndexes: false,
    prepare: (io) => {
      io.adapter(createAdapter());
      sticky.setupWorker(io);
    },
  });
  endOnSignal(app);
  process.send("ready");
}
