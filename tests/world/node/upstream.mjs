// Echoing WebSocket upstreams on Node's ws. Argument: as JSON, the options of each by its name. The first line on standard
// output says their ports by name, each further one what a connection that has ended was. ws is looked for from the
// working directory.
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createRequire } from 'node:module';

const { WebSocketServer } = createRequire(`${process.cwd()}/`)('ws');

async function listen(options) {
  const server = new WebSocketServer({ host: '127.0.0.1', port: 0, maxPayload: 0, ...options });
  const answers = new WeakMap();
  server.on('headers', (lines, request) => {
    const line = lines.find((text) => text.toLowerCase().startsWith('sec-websocket-extensions:'));
    answers.set(request, line === undefined ? '' : line.slice(line.indexOf(':') + 1).trim());
  });
  server.on('connection', (socket, request) => {
    const hash = createHash('sha256');
    let messages = 0;
    let fault = '';
    socket.on('message', (data, binary) => {
      const head = Buffer.alloc(5, binary ? 'B' : 'T');
      head.writeUInt32BE(data.length, 1);
      hash.update(head).update(data);
      messages += 1;
      socket.send(data, { binary });
    });
    socket.on('error', (error) => {
      fault = String(error);
    });
    socket.on('close', (code, reason) => {
      const asked = request.headers['sec-websocket-extensions'] ?? '';
      const answered = answers.get(request);
      const seen = { path: request.url, asked, answered, messages, digest: hash.digest('hex'), code };
      console.log(JSON.stringify({ ...seen, reason: reason.toString(), error: fault }));
    });
  });
  await once(server, 'listening');
  return server.address().port;
}

const ports = {};
for (const [name, options] of Object.entries(JSON.parse(process.argv[2]))) ports[name] = await listen(options);
console.log(JSON.stringify(ports));
