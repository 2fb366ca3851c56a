// A WebSocket client on Node's ws. Arguments: the URL, and as JSON {options, messages}: an entry of messages is
// {text}, {size, binary} (that many pseudo-random but compressible bytes) or {fragments: [text, ...]}.
// It sends each, compares its echo, pings, then closes with 4001 "done". Prints one JSON line with what it saw.
import { createHash } from 'node:crypto';
import WebSocket from 'ws';

const [, , url, spec] = process.argv;
const { options, messages } = JSON.parse(spec);
const socket = new WebSocket(url, { maxPayload: 0, perMessageDeflate: false, ...options });
const seen = { extensions: '', echoes: 0, wrong: [], pong: null, code: null, reason: null };

function bytesOf(size) {
  const parts = [];
  for (let i = 0, length = 0; length < size; i++) {
    const part = Buffer.from(JSON.stringify({ i, mark: createHash('sha1').update(String(i)).digest('hex') }));
    parts.push(part);
    length += part.length;
  }
  return Buffer.concat(parts).subarray(0, size);
}

function prepare(message) {
  if (message.fragments !== undefined) return { whole: Buffer.from(message.fragments.join('')), binary: false };
  if (message.text !== undefined) return { whole: Buffer.from(message.text), binary: false };
  return { whole: bytesOf(message.size), binary: Boolean(message.binary) };
}

function send(message, { whole, binary }) {
  if (message.fragments === undefined) {
    socket.send(whole, { binary });
    return;
  }
  message.fragments.forEach((part, index) => {
    socket.send(part, { binary: false, fin: index === message.fragments.length - 1 });
  });
}

function next() {
  if (seen.echoes === messages.length) {
    socket.ping('are you there');
    return;
  }
  const message = messages[seen.echoes];
  const expected = prepare(message);
  socket.once('message', (data, isBinary) => {
    if (isBinary !== expected.binary || !expected.whole.equals(data)) seen.wrong.push(seen.echoes);
    seen.echoes += 1;
    next();
  });
  send(message, expected);
}

socket.on('open', () => {
  seen.extensions = socket.extensions;
  next();
});
socket.on('pong', (data) => {
  seen.pong = data.toString();
  socket.close(4001, 'done');
});
socket.on('close', (code, reason) => {
  seen.code = code;
  seen.reason = reason.toString();
  console.log(JSON.stringify(seen));
});
socket.on('error', (error) => {
  seen.wrong.push(String(error));
});
