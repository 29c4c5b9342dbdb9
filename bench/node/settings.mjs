// What the environment may set; everything else is a constant of the specification (docs/protocol.md).

const required = (name) => process.env[name] || fail(`${name} is not set`);

function fail(problem) {
  console.error(problem);
  process.exit(2);
}

export const settings = {
  host: process.env.HOST || "127.0.0.1",
  port: Number(process.env.PORT || 3000),
  mongodbUri: required("MONGODB_URI"),
  mongodbName: process.env.MONGODB_DB || "samvad_node",
  jwtSecret: required("JWT_SECRET"),
  // Processes of the cluster; server.mjs is one process always.
  workers: Number(process.env.WORKERS || 2),
  poolSize: Number(process.env.POOL_SIZE || 100),
  // One order for all listeners of a conversation costs a queue per conversation; most Node servers have none.
  ordered: process.env.ORDERED === "on",
  callLogs: process.env.CALL_LOGS !== "off",
  callBusy: process.env.CALL_BUSY !== "off",
  ringSeconds: Number(process.env.RING_TIMEOUT_SECONDS || 60),
};

export const MAX_PACKET_BYTES = 256 * 1024;
export const MAX_CONTENT = 4000;
export const MAX_PAGE = 100;
export const MAX_COUNTED = 10_000;
export const TYPING_THROTTLE_MS = 2_000;
export const TYPING_EXPIRY_MS = 5_000;
