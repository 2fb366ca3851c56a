#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

enum state { CONNECTING, SECURING, ASKING, OPEN, CLOSING };

struct client {
  struct stream stream;
  struct reader reader;
  const struct frames *frames;
  struct record *record;
  int index;
  enum state state;
  bool was_counted, seen_close;
  int64_t received, sent, sent_time;
  size_t head_length;
  char *head;
};

enum { AT_ONCE = 128 /* handshakes under way */ };

static struct frames plain, deflated;
static struct client *clients;
static SSL_CTX *tls;
static int poll_fd, started, settled;
static uint8_t buffer[READ_BYTES];

static void begin_connection(struct client *client) {
  client->stream = (struct stream){.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0)};
  if (client->stream.fd < 0) fail("the clients cannot open a socket: %s", strerror(errno));
  int yes = 1;
  /* Several source addresses, and no port before connect(): else ports run out. */
  setsockopt(client->stream.fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof yes);
  setsockopt(client->stream.fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  struct sockaddr_in own = {.sin_family = AF_INET,
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + (uint32_t)client->index % 32)};
  bind(client->stream.fd, (struct sockaddr *)&own, sizeof own);
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atomic_load(&shared->port))};
  inet_pton(AF_INET, shared->host, &to.sin_addr);
  if (connect(client->stream.fd, (struct sockaddr *)&to, sizeof to) < 0 && errno != EINPROGRESS)
    fail("client %d cannot connect: %s", client->index, strerror(errno));
  client->state = CONNECTING;
  client->reader = (struct reader){0};
  client->head_length = 0;
  client->seen_close = false;
  client->head = malloc(HEAD_BYTES);
  stream_watch(&client->stream, poll_fd, EPOLLOUT, client);
}

static void send_request(struct client *client) {
  char request[512];
  int length = snprintf(request, sizeof request,
                        "GET /feed?n=%d HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " KEY "\r\n"
                        "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n",
                        client->index);
  stream_send(&client->stream, (uint8_t *)request, (size_t)length);
  client->state = ASKING;
  stream_watch(&client->stream, poll_fd, EPOLLIN, client);
}

/* True once the TLS handshake is through. */
static bool secure(struct client *client) {
  if (client->stream.ssl == NULL) {
    client->stream.ssl = SSL_new(tls);
    SSL_set_fd(client->stream.ssl, client->stream.fd);
    SSL_set_connect_state(client->stream.ssl);
  }
  int done = SSL_do_handshake(client->stream.ssl);
  if (done == 1) return true;
  int reason = SSL_get_error(client->stream.ssl, done);
  if (reason != SSL_ERROR_WANT_READ && reason != SSL_ERROR_WANT_WRITE) fail("the TLS handshake failed");
  stream_watch(&client->stream, poll_fd, reason == SSL_ERROR_WANT_WRITE ? EPOLLOUT : EPOLLIN, client);
  return false;
}

static void send_echo(struct client *client) {
  const struct frames *frames = client->frames;
  int64_t which = (first_message(client->index, frames) + client->sent++) % frames->count;
  size_t from = frames->offsets[which];
  client->sent_time = now_ns();
  stream_send(&client->stream, frames->bytes + from, frames->offsets[which + 1] - from);
}

static void send_close(struct client *client) {
  static const uint8_t frame[8] = {0x88, 0x82, 1, 2, 3, 4, 0x03 ^ 1, 0xe8 ^ 2};
  client->state = CLOSING;
  stream_send(&client->stream, frame, sizeof frame);
}

static void check_answer(struct client *client) {
  char accept[64], extension[256];
  if (strncmp(client->head, "HTTP/1.1 101 ", 13) != 0) fail("client %d got: %.60s", client->index, client->head);
  header_value(client->head, "Sec-WebSocket-Accept", accept, sizeof accept);
  if (strcmp(accept, ACCEPT) != 0) fail("client %d got the wrong Sec-WebSocket-Accept", client->index);
  header_value(client->head, "Sec-WebSocket-Extensions", extension, sizeof extension);
  if (settled++ == 0) strcpy(shared->extension, extension);
  else if (strcmp(shared->extension, extension) != 0) fail("not every client agreed on: %s", extension);
  const char *bits = strstr(extension, "client_max_window_bits=");
  if (bits && atoi(bits + 23) < 12) fail("the clients' frames need a window of 12 bits: %s", extension);
  client->frames = extension[0] ? &deflated : &plain;
  client->state = OPEN;
  if (!client->was_counted) atomic_fetch_add(&shared->connected, 1);
  client->was_counted = true;
}

static void note_latency(int64_t nanoseconds) {
  int64_t microseconds = nanoseconds / 1000 < 1 ? 1 : nanoseconds / 1000;
  int doubling = 63 - __builtin_clzll((uint64_t)microseconds);
  /* Between two powers of two, 64 even steps. */
  int64_t step = ((microseconds - (1LL << doubling)) * 64) >> doubling;
  int bucket = doubling * 64 + (int)step;
  add(&shared->histogram[bucket < BUCKETS ? bucket : BUCKETS - 1], 1);
}

static void end_frame(void *who, const struct reader *reader) {
  struct client *client = who;
  if (reader->mask) fail("a client got a masked frame");
  if (opcode(reader) == 8) {
    client->seen_close = true;
    if (client->state == OPEN && atomic_load(&shared->phase) != STOPPED)
      fail("client %d was closed: %02x%02x %.*s", client->index, reader->control[0], reader->control[1],
           reader->size > 2 ? (int)reader->size - 2 : 0, reader->control + 2);
  } else if (opcode(reader) == 9) {
    uint8_t pong[135] = {0x8a, (uint8_t)(0x80 | reader->size)};
    memcpy(pong + 6, reader->control, reader->size);
    stream_send(&client->stream, pong, 6 + reader->size);
  }
  if (is_control(reader) || !is_final(reader)) return;
  add(delivered(client->index), 1);
  if (floods(client->index)) return;
  int64_t now = 0;
  if (options.traffic == ECHO) now = now_ns() - client->sent_time;
  else if (options.traffic == PACED || options.traffic == TOGETHER)
    now = now_ns() - atomic_load_explicit(sent_at(client->index, client->received), memory_order_relaxed);
  if (now) note_latency(now);
  client->received++;
  add(&shared->messages, 1);
  if (options.traffic == ECHO && atomic_load(&shared->phase) == RUNNING) send_echo(client);
}

static const struct listener listener = {NULL, NULL, end_frame};

static void take(struct client *client, uint8_t *data, size_t length) {
  if (!floods(client->index)) add(&shared->wire_bytes, (int64_t)length);
  if (client->record) {
    size_t used = client->record->length, room = RECORD_BYTES - used;
    memcpy(client->record->bytes + used, data, length < room ? length : room);
    client->record->length = used + (length < room ? length : room);
  }
  reader_feed(&client->reader, &listener, client, data, length);
}

static void read_head(struct client *client, size_t got) {
  if (client->head_length + got >= HEAD_BYTES) fail("an answer's head of more than %d bytes", HEAD_BYTES);
  memcpy(client->head + client->head_length, buffer, got);
  client->head_length += got;
  client->head[client->head_length] = '\0';
  char *ending = strstr(client->head, "\r\n\r\n");
  if (ending == NULL) return;
  check_answer(client);
  size_t rest = client->head_length - (size_t)(ending + 4 - client->head);
  if (rest > 0) take(client, (uint8_t *)ending + 4, rest);
  free(client->head);
  client->head = NULL;
  if (options.traffic == HANDSHAKES) send_close(client);
  else if (started < options.connections) begin_connection(&clients[started++]);
}

static void ended(struct client *client) {
  free(client->head);
  client->head = NULL;
  if (client->state != CLOSING || !client->seen_close) {
    if (atomic_load(&shared->phase) == STOPPED) {
      stream_close(&client->stream);
      return;
    }
    fail("client %d lost its connection in state %d", client->index, (int)client->state);
  }
  stream_close(&client->stream);
  add(&shared->handshakes, 1);
  if (atomic_load(&shared->phase) != STOPPED) begin_connection(client);
}

static void serve(struct client *client, uint32_t events) {
  if (client->state == CONNECTING) {
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(client->stream.fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error) fail("client %d cannot connect: %s", client->index, strerror(error));
    client->state = SECURING;
  }
  if (client->state == SECURING) {
    if (tls == NULL || secure(client)) send_request(client);
    return;
  }
  /* TLS may hold decrypted bytes of which the socket says nothing: read until it blocks. */
  for (int turn = 0; events & (EPOLLIN | EPOLLHUP | EPOLLERR) && (turn == 0 || tls); turn++) {
    long got = stream_read(&client->stream, buffer, sizeof buffer);
    if (got == BLOCKED) break;
    if (got == ENDED) {
      ended(client);
      return;
    }
    if (client->state == ASKING) read_head(client, (size_t)got);
    else take(client, buffer, (size_t)got);
    /* The upstream's answer to a close is the last thing that comes; a tunnel of bytes leaves ending to the client. */
    if (client->seen_close && client->state == CLOSING) {
      ended(client);
      return;
    }
  }
  bool flushed = stream_flush(&client->stream);
  stream_watch(&client->stream, poll_fd, EPOLLIN | (flushed ? 0 : EPOLLOUT), client);
}

void run_clients(void) {
  struct epoll_event events[256];
  bool running = false;
  if (options.frames[CLIENT_PLAIN]) frames_load(&plain, options.frames[CLIENT_PLAIN]);
  if (options.frames[CLIENT_DEFLATED]) frames_load(&deflated, options.frames[CLIENT_DEFLATED]);
  if (options.tls) {
    tls = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_verify(tls, SSL_VERIFY_NONE, NULL);
    SSL_CTX_set_mode(tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  }
  clients = calloc((size_t)options.connections, sizeof *clients);
  poll_fd = epoll_create1(0);
  for (int i = 0; i < options.connections; i++) clients[i].index = i;
  clients[0].record = &shared->records[0];
  if (options.connections > 1) clients[options.connections - 1].record = &shared->records[1];
  while (started < options.connections && started < AT_ONCE) begin_connection(&clients[started++]);
  for (;;) {
    if (!running && options.traffic == ECHO && atomic_load(&shared->phase) == RUNNING) {
      running = true;
      for (int i = 0; i < options.connections; i++) send_echo(&clients[i]);
    }
    int count = epoll_wait(poll_fd, events, 256, running ? 100 : 5);
    for (int i = 0; i < count; i++) serve(events[i].data.ptr, events[i].events);
  }
}
