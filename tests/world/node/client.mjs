// WebSocket conversations on Node's ws: one JSON job a line on standard input, one JSON result a line on standard output.
// A job is {url, offer, script}; the script is a file of messages (kind T or B, length in four bytes, payload), which are
// sent in bursts and whose echoes are hashed. ws is looked for from the working directory.
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

const WebSocket = createRequire(`${process.cwd()}/`)('ws');
const BURST_BYTES = 65536;
const BURST_MESSAGES = 32;

function messagesOf(path) {
  const data = readFileSync(path);
  const messages = [];
  for (let at = 0; at < data.length; ) {
    const length = data.readUInt32BE(at + 1);
    messages.push({ binary: data[at] === 0x42, payload: data.subarray(at + 5, at + 5 + length) });
    at += 5 + length;
  }
  return messages;
}

function optionsOf(offer, number) {
  if (offer === null) return false;
  const options = { clientMaxWindowBits: offer.client_bits ?? false };
  if (offer.server_resets) options.serverNoContextTakeover = true;
  if (offer.client_resets) options.clientNoContextTakeover = true;
  if (offer.server_bits !== null) options.serverMaxWindowBits = offer.server_bits;
  // Every other conversation mixes compressed messages with small ones that are not.
  if (number % 2 === 0) options.threshold = 0;
  return options;
}

function send(socket, { binary, payload }, index) {
  if (index % 7 !== 3) {
    socket.send(payload, { binary });
    return;
  }
  const third = Math.ceil(payload.length / 3);
  for (const part of [0, 1, 2]) {
    socket.send(payload.subarray(part * third, (part + 1) * third), { binary, fin: part === 2 });
  }
}

function converse(job, number) {
  const messages = messagesOf(job.script);
  const hash = createHash('sha256');
  const seen = { answered: '', echoes: 0, digest: '', code: 0, reason: '', error: '' };
  let sent = 0;
  return new Promise((resolve) => {
    const socket = new WebSocket(job.url, { maxPayload: 0, perMessageDeflate: optionsOf(job.offer, number) });
    function burst() {
      for (let bytes = 0, count = 0; sent < messages.length && bytes < BURST_BYTES && count < BURST_MESSAGES; count++) {
        bytes += messages[sent].payload.length;
        send(socket, messages[sent], sent);
        sent += 1;
      }
    }
    socket.on('upgrade', (answer) => {
      seen.answered = answer.headers['sec-websocket-extensions'] ?? '';
    });
    socket.on('open', burst);
    socket.on('message', (data, binary) => {
      const head = Buffer.alloc(5, binary ? 'B' : 'T');
      head.writeUInt32BE(data.length, 1);
      hash.update(head).update(data);
      seen.echoes += 1;
      if (seen.echoes === messages.length) socket.close(4001, 'done');
      else if (seen.echoes === sent) burst();
    });
    socket.on('error', (error) => {
      seen.error = String(error);
    });
    socket.on('close', (code, reason) => {
      resolve({ ...seen, digest: hash.digest('hex'), code, reason: reason.toString() });
    });
  });
}

let number = 0;
for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(await converse(JSON.parse(line), number)));
  number += 1;
}
