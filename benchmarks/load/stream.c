#include "load.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

static long tls_result(struct stream *stream, int result) {
  int reason = SSL_get_error(stream->ssl, result);
  ERR_clear_error();
  return reason == SSL_ERROR_WANT_READ || reason == SSL_ERROR_WANT_WRITE ? BLOCKED : ENDED;
}

long stream_read(struct stream *stream, uint8_t *buffer, size_t room) {
  if (stream->ssl) {
    int got = SSL_read(stream->ssl, buffer, (int)room);
    return got > 0 ? got : tls_result(stream, got);
  }
  ssize_t got = recv(stream->fd, buffer, room, 0);
  if (got < 0) return errno == EAGAIN ? BLOCKED : ENDED;
  return got;
}

long stream_write(struct stream *stream, const uint8_t *data, size_t length) {
  if (stream->ssl) {
    int put = SSL_write(stream->ssl, data, (int)length);
    return put > 0 ? put : tls_result(stream, put);
  }
  ssize_t put = send(stream->fd, data, length, MSG_NOSIGNAL);
  if (put < 0) return errno == EAGAIN ? BLOCKED : ENDED;
  return put;
}

bool stream_send(struct stream *stream, const uint8_t *data, size_t length) {
  size_t waiting = stream->queued - stream->taken;
  if (waiting == 0) {
    long put = stream_write(stream, data, length);
    if (put > 0) {
      data += put;
      length -= (size_t)put;
    }
  }
  if (length == 0) return true;
  if (waiting + length > QUEUE_BYTES) return false;
  if (stream->taken > 0) memmove(stream->queue, stream->queue + stream->taken, waiting);
  stream->taken = 0;
  stream->queued = waiting;
  if (waiting + length > stream->room) {
    stream->room = (waiting + length) * 2;
    stream->queue = realloc(stream->queue, stream->room);
  }
  memcpy(stream->queue + waiting, data, length);
  stream->queued += length;
  return true;
}

bool stream_flush(struct stream *stream) {
  while (stream->taken < stream->queued) {
    long put = stream_write(stream, stream->queue + stream->taken, stream->queued - stream->taken);
    if (put <= 0) return false;
    stream->taken += (size_t)put;
  }
  return true;
}

void stream_watch(struct stream *stream, int poll, uint32_t events, void *who) {
  if (stream->watched == events) return;
  struct epoll_event event = {.events = events, .data.ptr = who};
  if (epoll_ctl(poll, stream->watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, stream->fd, &event) < 0)
    fail("epoll_ctl: %s", strerror(errno));
  stream->watched = events;
}

void stream_close(struct stream *stream) {
  if (stream->ssl) SSL_free(stream->ssl);
  close(stream->fd);
  free(stream->queue);
  *stream = (struct stream){.fd = -1};
}

int timer_every(int64_t nanoseconds) {
  int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
  struct timespec step = {.tv_sec = nanoseconds / 1000000000, .tv_nsec = nanoseconds % 1000000000};
  struct itimerspec spec = {.it_interval = step, .it_value = step};
  if (timer < 0 || timerfd_settime(timer, 0, &spec, NULL) < 0) fail("timerfd: %s", strerror(errno));
  return timer;
}

void header_value(const char *head, const char *name, char *value, size_t room) {
  size_t length = strlen(name);
  value[0] = '\0';
  for (const char *line = strstr(head, "\r\n"); line && line[2] != '\r'; line = strstr(line + 2, "\r\n")) {
    if (strncasecmp(line + 2, name, length) != 0 || line[2 + length] != ':') continue;
    const char *from = line + 3 + length;
    while (*from == ' ') from++;
    size_t size = (size_t)(strstr(from, "\r\n") - from);
    if (size >= room) fail("a %s header of %zu bytes", name, size);
    memcpy(value, from, size);
    value[size] = '\0';
    return;
  }
}
