// An echoing WebSocket upstream on Node's ws. Argument: its options as JSON. Prints its port as its first line.
import { WebSocketServer } from 'ws';

const options = JSON.parse(process.argv[2]);
const server = new WebSocketServer({ host: '127.0.0.1', port: 0, maxPayload: 0, ...options });
server.on('connection', (socket) => {
  socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary, compress: true }));
});
server.on('listening', () => console.log(server.address().port));
