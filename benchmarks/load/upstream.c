#include "load.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

/* A connection of the proxy to the upstream. `index` is the client's number, which its request's path carries. */
struct up {
  struct stream stream;
  struct reader reader;
  const struct frames *frames;
  int index;
  int64_t pushed;
  size_t offset; /* of a saturated push, into all the frames */
  bool open, closing;
  size_t head_length;
  char *head;
};

static struct frames plain, deflated;
static struct up **by_index;
static int *order; /* in which connections are pushed to: not the order in which they came */
static int poll_fd;
static uint8_t buffer[READ_BYTES];

static void end(struct up *up) {
  if (up->index >= 0 && by_index[up->index] == up) by_index[up->index] = NULL;
  stream_close(&up->stream);
  free(up->head);
  free(up);
}

static void accept_key(const char *key, char *accept) {
  char text[128];
  uint8_t digest[SHA_DIGEST_LENGTH];
  int length = snprintf(text, sizeof text, "%s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key);
  SHA1((uint8_t *)text, (size_t)length, digest);
  EVP_EncodeBlock((uint8_t *)accept, digest, sizeof digest);
}

/* Accepts the first offer as it is. */
static void answer_extension(const char *offer, char *answer, size_t room) {
  answer[0] = '\0';
  if (!options.upstream_deflates || strstr(offer, "permessage-deflate") == NULL) return;
  const char *bits = strstr(offer, "server_max_window_bits=");
  char window[64] = "";
  if (bits) snprintf(window, sizeof window, "; server_max_window_bits=%d", atoi(bits + 23));
  if (bits && atoi(bits + 23) < 12) fail("the upstream's frames need a window of 12 bits: %s", offer);
  /* Its frames are self-contained, so whatever is asked about takeover is granted. */
  const char *own = strstr(offer, "server_no_context_takeover") ? "; server_no_context_takeover" : "";
  const char *other = strstr(offer, "client_no_context_takeover") ? "; client_no_context_takeover" : "";
  snprintf(answer, room, "Sec-WebSocket-Extensions: permessage-deflate%s%s%s\r\n", own, other, window);
}

static void answer_handshake(struct up *up) {
  char key[64], accept[64], offer[512], extension[256], response[1024];
  header_value(up->head, "Sec-WebSocket-Key", key, sizeof key);
  header_value(up->head, "Sec-WebSocket-Extensions", offer, sizeof offer);
  const char *mark = strstr(up->head, "?n=");
  up->index = mark ? atoi(mark + 3) : -1;
  if (up->index < 0 || up->index >= options.connections) fail("no number in the request: %.80s", up->head);
  by_index[up->index] = up;
  accept_key(key, accept);
  answer_extension(offer, extension, sizeof extension);
  up->frames = extension[0] ? &deflated : &plain;
  if (up->frames->count) up->offset = up->frames->offsets[first_message(up->index, up->frames)];
  int length = snprintf(response, sizeof response,
                        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                        "Sec-WebSocket-Accept: %s\r\n%s\r\n", accept, extension);
  stream_send(&up->stream, (uint8_t *)response, (size_t)length);
  up->open = true;
}

static void begin_frame(void *who, const struct reader *reader) {
  struct up *up = who;
  if (is_control(reader) || options.traffic != ECHO) return;
  uint8_t head[10] = {reader->head[0], (uint8_t)(reader->head[1] & 127)};
  size_t length = head[1] == 126 ? 4 : head[1] == 127 ? 10 : 2;
  memcpy(head + 2, reader->head + 2, length - 2);
  if (!stream_send(&up->stream, head, length)) fail("the proxy does not read its echo");
}

static void echo_payload(void *who, const struct reader *reader, uint8_t *data, size_t length) {
  struct up *up = who;
  if (is_control(reader) || options.traffic != ECHO) return;
  size_t phase = (size_t)(reader->size - reader->left);
  for (size_t i = 0; reader->mask && i < length; i++) data[i] ^= reader->mask[(phase + i) & 3];
  if (!stream_send(&up->stream, data, length)) fail("the proxy does not read its echo");
}

static void end_frame(void *who, const struct reader *reader) {
  struct up *up = who;
  if (!is_control(reader)) return;
  bool is_close = opcode(reader) == 8;
  /* A saturated push has no gap for a pong: runs are shorter than any ping's timeout. */
  if (opcode(reader) == 10 || ((options.traffic == SATURATED || floods(up->index)) && !is_close)) return;
  uint8_t reply[128] = {is_close ? 0x88 : 0x8a, (uint8_t)reader->size};
  for (size_t i = 0; i < reader->size; i++)
    reply[2 + i] = reader->mask ? reader->control[i] ^ reader->mask[i & 3] : reader->control[i];
  stream_send(&up->stream, reply, 2 + reader->size);
  if (is_close) up->closing = true;
}

static const struct listener listener = {begin_frame, echo_payload, end_frame};

static bool wants_push(const struct up *up) {
  return (options.traffic == SATURATED || floods(up->index)) && up->open && !up->closing && atomic_load(&shared->phase) == RUNNING;
}

/* As much as the socket takes, from one run of frames to the next. */
static void push_saturated(struct up *up) {
  const struct frames *frames = up->frames;
  size_t total = frames->offsets[frames->count];
  for (int turn = 0; turn < 4; turn++) {
    size_t piece = total - up->offset < 65536 ? total - up->offset : 65536;
    long put = stream_write(&up->stream, frames->bytes + up->offset, piece);
    if (put <= 0) return;
    up->offset = (up->offset + (size_t)put) % total;
  }
}

static void push_one(struct up *up) {
  if (up == NULL || floods(up->index) || !up->open || up->closing || (options.most && up->pushed >= options.most)) return;
  const struct frames *frames = up->frames;
  int64_t which = (first_message(up->index, frames) + up->pushed) % frames->count;
  size_t from = frames->offsets[which], length = frames->offsets[which + 1] - from;
  atomic_store_explicit(sent_at(up->index, up->pushed), now_ns(), memory_order_relaxed);
  if (!stream_send(&up->stream, frames->bytes + from, length)) {
    add(&shared->late, 1);
    return;
  }
  up->pushed++;
  stream_watch(&up->stream, poll_fd, EPOLLIN | (up->stream.taken < up->stream.queued ? EPOLLOUT : 0), up);
}

/* Messages are due at even distances over all connections: the i-th at `began` + i * interval / connections. */
static void push_due(int64_t began, int64_t *pushed) {
  int64_t interval = options.interval_us * 1000, passed = now_ns() - began;
  if (options.traffic == TOGETHER) {
    for (; *pushed < passed / interval; ++*pushed)
      for (int i = 0; i < options.connections; i++) push_one(by_index[order[i]]);
    return;
  }
  int64_t due = (int64_t)((double)passed / (double)interval * options.connections);
  for (; *pushed < due; ++*pushed) push_one(by_index[order[*pushed % options.connections]]);
}

static void read_head(struct up *up, size_t got) {
  if (up->head_length + got >= HEAD_BYTES) fail("a request head of more than %d bytes", HEAD_BYTES);
  memcpy(up->head + up->head_length, buffer, got);
  up->head_length += got;
  up->head[up->head_length] = '\0';
  char *ending = strstr(up->head, "\r\n\r\n");
  if (ending == NULL) return;
  answer_handshake(up);
  size_t used = (size_t)(ending + 4 - up->head), rest = up->head_length - used;
  memcpy(buffer, ending + 4, rest);
  reader_feed(&up->reader, &listener, up, buffer, rest);
  free(up->head);
  up->head = NULL;
}

static void serve(struct up *up, uint32_t events) {
  if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
    long got = stream_read(&up->stream, buffer, sizeof buffer);
    if (got == ENDED) {
      end(up);
      return;
    }
    if (got > 0 && up->open) {
      add(&shared->upstream_wire_bytes, got);
      reader_feed(&up->reader, &listener, up, buffer, (size_t)got);
    } else if (got > 0) {
      read_head(up, (size_t)got);
    }
  }
  bool flushed = stream_flush(&up->stream);
  if (flushed && up->closing) {
    end(up);
    return;
  }
  if (flushed && wants_push(up)) push_saturated(up);
  stream_watch(&up->stream, poll_fd, EPOLLIN | (!flushed || wants_push(up) ? EPOLLOUT : 0), up);
}

static void accept_all(int listening) {
  int fd, yes = 1;
  while ((fd = accept4(listening, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    struct up *up = calloc(1, sizeof *up);
    up->stream.fd = fd;
    up->index = -1;
    up->head = malloc(HEAD_BYTES);
    stream_watch(&up->stream, poll_fd, EPOLLIN, up);
  }
  if (errno != EAGAIN) fail("the upstream cannot accept: %s", strerror(errno));
}

static void shuffle(void) {
  uint64_t state = 88172645463325252u;
  for (int i = 0; i < options.connections; i++) order[i] = i;
  for (int i = options.connections - 1; i > 0; i--) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    int other = (int)(state % (uint64_t)(i + 1)), kept = order[i];
    order[i] = order[other];
    order[other] = kept;
  }
}

/* What starts with the phase RUNNING: the clock of a paced push, or the first write of a saturated one. */
static int begin_traffic(int64_t *began) {
  *began = now_ns();
  for (int i = 0; i < options.connections; i++)
    if (by_index[i] && wants_push(by_index[i])) stream_watch(&by_index[i]->stream, poll_fd, EPOLLIN | EPOLLOUT, by_index[i]);
  if (options.traffic != PACED && options.traffic != TOGETHER) return -1;
  int64_t step = options.interval_us * 1000 / (options.traffic == PACED ? options.connections : 1);
  int timer = timer_every(step < 100000 ? 100000 : step);
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = order};
  epoll_ctl(poll_fd, EPOLL_CTL_ADD, timer, &event);
  return timer;
}

void run_upstream(int listening) {
  struct epoll_event events[256], accepting = {.events = EPOLLIN, .data.ptr = NULL};
  int64_t began = 0, pushed = 0, ticks;
  int timer = -1;
  by_index = calloc((size_t)options.connections, sizeof *by_index);
  order = calloc((size_t)options.connections, sizeof *order);
  shuffle();
  if (options.frames[PUSH_PLAIN]) frames_load(&plain, options.frames[PUSH_PLAIN]);
  if (options.frames[PUSH_DEFLATED]) frames_load(&deflated, options.frames[PUSH_DEFLATED]);
  poll_fd = epoll_create1(0);
  epoll_ctl(poll_fd, EPOLL_CTL_ADD, listening, &accepting);
  for (;;) {
    int phase = atomic_load(&shared->phase);
    if (phase == RUNNING && began == 0) timer = begin_traffic(&began);
    int count = epoll_wait(poll_fd, events, 256, began ? 100 : 5);
    for (int i = 0; i < count; i++) {
      if (events[i].data.ptr == NULL) accept_all(listening);
      else if (events[i].data.ptr == order && read(timer, &ticks, sizeof ticks) > 0 && phase == RUNNING)
        push_due(began, &pushed);
      else if (events[i].data.ptr != order) serve(events[i].data.ptr, events[i].events);
    }
  }
}
