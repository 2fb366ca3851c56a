// A reverse proxy on ws that adds permessage-deflate for an upstream without it, with ws's defaults for it.
//
// usage: node proxy.mjs PORT UPSTREAM_URL UPSTREAM_DEFLATE(0|1)
// bufferutil is installed beside it, as ws's documentation advises. Messages stay Buffers; a slow side pauses the other.
import { WebSocket, WebSocketServer } from "ws";

const [port, upstream, upstreamDeflate] = process.argv.slice(2);
const HIGH_WATER = 1 << 20;
const OPEN = WebSocket.OPEN;

function carry(from, to) {
  from.on("message", (data, binary) => {
    if (to.readyState !== OPEN) return;
    to.send(data, { binary }, () => {
      if (from.isPaused && to.bufferedAmount < HIGH_WATER) from.resume();
    });
    if (to.bufferedAmount >= HIGH_WATER) from.pause();
  });
  from.on("close", (code, reason) => {
    if (from.isPaused) from.resume();
    if (code === 1005) to.close();
    else if (code === 1006 || code === 1015) to.close(1001);
    else to.close(code, reason);
  });
  from.on("error", () => to.terminate());
}

const server = new WebSocketServer({ host: "127.0.0.1", port: Number(port), perMessageDeflate: true, backlog: 4096 });
server.on("connection", (client, request) => {
  client.pause();
  const to = new WebSocket(upstream + request.url, { perMessageDeflate: upstreamDeflate === "1" });
  carry(client, to);
  carry(to, client);
  to.on("open", () => client.resume());
});
