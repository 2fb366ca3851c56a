/* The load of the benchmarks: one program that is both the upstream and all the clients, in two processes.
 *
 * main.c      the arguments, the shared memory, the two processes, the line protocol with the runner
 * frames.c    prebuilt frames from a file; the incremental frame reader
 * stream.c    a connection's socket, with or without TLS, and what it could not send yet
 * upstream.c  accepts, answers handshakes, pushes or echoes
 * client.c    connects, verifies handshakes, counts and times what arrives
 *
 * Frames are built before anything is measured, masks and compression included, so that sending one is a write.
 * Readers look at frame headers only; the first and the last connection are recorded whole, for the runner to check.
 */
#ifndef LOAD_H
#define LOAD_H

#include <openssl/ssl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum traffic { SATURATED, PACED, TOGETHER, ECHO, HANDSHAKES };
enum phase { WAITING, RUNNING, STOPPED };

enum {
  RING = 256,              /* send times kept for each connection, a power of two */
  BUCKETS = 64 * 30,       /* of the latency histogram: 64 for each doubling, from 1 microsecond up */
  RECORDS = 2,
  RECORD_BYTES = 8 << 20,
  READ_BYTES = 256 << 10,
  HEAD_BYTES = 8 << 10,
  QUEUE_BYTES = 4 << 20,   /* what may wait for one slow socket before it counts as an overload */
};

struct options {
  enum traffic traffic;
  int connections;
  int64_t interval_us;     /* from one message to the next on one connection, if paced */
  int flood;               /* the first so many connections are pushed to without a pace; they are not counted */
  int64_t most;            /* messages that the upstream pushes to each connection; 0: no end */
  bool upstream_deflates;  /* the upstream accepts permessage-deflate, and pushes its compressed frames */
  bool tls;
  const char *record;      /* path prefix of the two records */
  const char *frames[4];   /* files: see enum frames_kind */
};

enum frames_kind { PUSH_PLAIN, PUSH_DEFLATED, CLIENT_PLAIN, CLIENT_DEFLATED };

struct record {
  _Atomic size_t length;
  uint8_t bytes[RECORD_BYTES];
};

/* Written by one process each, read by main.c. */
struct shared {
  _Atomic int phase;
  _Atomic int port;             /* of the proxy, set when the clients may start */
  char host[64];
  _Atomic int connected;
  _Atomic int failed;           /* 0, or a side has stopped because of `error` */
  char error[256];
  char extension[256];          /* Sec-WebSocket-Extensions as every client got it */
  _Atomic int64_t messages;     /* delivered to clients */
  _Atomic int64_t wire_bytes;   /* frames delivered to clients, headers included, TLS not */
  _Atomic int64_t upstream_wire_bytes;
  _Atomic int64_t handshakes;   /* whole ones: request, 101, close both ways, end */
  _Atomic int64_t late;         /* messages that were not sent because a socket was too far behind */
  _Atomic int64_t histogram[BUCKETS];
  struct record records[RECORDS];
  _Atomic int64_t slots[];      /* connections * (1 count delivered + RING send times), nanoseconds */
};

extern struct options options;
extern struct shared *shared;

static inline _Atomic int64_t *delivered(int index) { return &shared->slots[(int64_t)index * (RING + 1)]; }
static inline _Atomic int64_t *sent_at(int index, int64_t message) {
  return delivered(index) + 1 + (message & (RING - 1));
}
static inline void add(_Atomic int64_t *counter, int64_t value) {
  atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + value, memory_order_relaxed);
}

int64_t now_ns(void);
_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* frames.c */
struct frames {
  int count;
  uint8_t *bytes;
  size_t *offsets; /* count + 1 of them */
};
static inline bool floods(int index) { return index < options.flood; }
/* Every connection begins elsewhere, so that no two send the same at once; unless that is the point. */
static inline int first_message(int index, const struct frames *frames) {
  return options.traffic == TOGETHER ? 0 : (int)((int64_t)index * 7919 % frames->count);
}
void frames_load(struct frames *frames, const char *path);

struct reader {
  uint8_t head[14];
  int have;
  bool in_payload;
  uint64_t left;
  uint64_t size;
  uint8_t control[128];
  uint8_t *mask; /* in `head`; NULL if the frame has none */
};
/* Called with the first piece of a frame (`begin`), its payload pieces, and once it is complete (`end`). */
struct listener {
  void (*begin)(void *who, const struct reader *reader);
  void (*payload)(void *who, const struct reader *reader, uint8_t *data, size_t length);
  void (*end)(void *who, const struct reader *reader);
};
void reader_feed(struct reader *reader, const struct listener *listener, void *who, uint8_t *data, size_t length);
static inline int opcode(const struct reader *reader) { return reader->head[0] & 15; }
static inline bool is_control(const struct reader *reader) { return (reader->head[0] & 8) != 0; }
static inline bool is_final(const struct reader *reader) { return (reader->head[0] & 128) != 0; }

/* stream.c */
struct stream {
  int fd;
  SSL *ssl;
  uint32_t watched;
  uint8_t *queue;
  size_t queued, taken, room;
};
enum { ENDED = 0, BLOCKED = -1 };
long stream_read(struct stream *stream, uint8_t *buffer, size_t room);
long stream_write(struct stream *stream, const uint8_t *data, size_t length);
/* Sends what it can and queues the rest; false if the queue would grow past its bound. */
bool stream_send(struct stream *stream, const uint8_t *data, size_t length);
bool stream_flush(struct stream *stream); /* true once nothing is queued */
void stream_watch(struct stream *stream, int poll, uint32_t events, void *who);
void stream_close(struct stream *stream);
int timer_every(int64_t nanoseconds);

/* The value of a header in a head that ends with an empty line, copied without its line end; empty if absent. */
void header_value(const char *head, const char *name, char *value, size_t room);

_Noreturn void run_upstream(int listening);
_Noreturn void run_clients(void);

#endif
