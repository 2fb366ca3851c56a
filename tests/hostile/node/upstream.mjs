// An HTTP upstream that prints what arrived: its port first, then a line of JSON for each request, whole or malformed.
import http from 'node:http';

const tell = (line) => process.stdout.write(JSON.stringify(line) + '\n');

const upstream = http.createServer((request, response) => {
  const parts = [];
  request.on('data', (part) => parts.push(part));
  request.on('error', () => {}); // cut off by the proxy: it did not arrive
  request.on('end', () => {
    tell([request.method, request.url, Buffer.concat(parts).toString('latin1')]);
    response.end(`${request.method} ${request.url}`);
  });
});
upstream.on('clientError', (error, socket) => {
  if (error.code === 'ECONNRESET' || error.code === 'HPE_INVALID_EOF_STATE') {
    socket.destroy();
    return;
  }
  tell(['malformed', error.code, '']);
  socket.end('HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n');
});
upstream.listen(0, '127.0.0.1', () => process.stdout.write(`${upstream.address().port}\n`));
