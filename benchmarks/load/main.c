/* The line protocol with the runner, on standard input and output:
 *   (start)               -> "listening PORT": the upstream is there
 *   "connect HOST PORT"   -> "connected SECONDS": all clients are through their handshakes
 *   "start"               -> "started"
 *   "snapshot"            -> one line of JSON: every counter since the beginning, and this program's own CPU time
 *   "stop"                -> "stopped": nothing is pushed any more
 *   "quit"                -> records are written, both processes end, "bye"
 * If a side fails, the answer to any line is "error TEXT".
 */
#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct options options = {.connections = 1};
struct shared *shared;
static pid_t children[2];

int64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

void fail(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  if (shared == NULL) {
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
  } else if (atomic_load(&shared->failed) == 0) {
    vsnprintf(shared->error, sizeof shared->error, format, arguments);
    atomic_store(&shared->failed, 1);
  }
  va_end(arguments);
  _exit(1);
}

static void nap(void) { nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL); }

static int listen_anywhere(int *port) {
  int listening = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t size = sizeof address;
  if (listening < 0 || bind(listening, (struct sockaddr *)&address, size) < 0 || listen(listening, 4096) < 0)
    fail("cannot listen: %s", strerror(errno));
  getsockname(listening, (struct sockaddr *)&address, &size);
  *port = ntohs(address.sin_port);
  return listening;
}

static pid_t start(void (*run)(int), int argument) {
  pid_t child = fork();
  if (child < 0) fail("cannot fork: %s", strerror(errno));
  if (child > 0) return child;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  run(argument);
  _exit(0);
}

static void upstream_process(int listening) { run_upstream(listening); }
static void client_process(int unused) {
  (void)unused;
  run_clients();
}

static double cpu_seconds(pid_t child) {
  clockid_t clock;
  struct timespec used;
  if (child == 0 || clock_getcpuclockid(child, &clock) != 0 || clock_gettime(clock, &used) != 0) return 0;
  return (double)used.tv_sec + (double)used.tv_nsec / 1e9;
}

static void snapshot(void) {
  int64_t least = INT64_MAX, most = 0;
  for (int i = 0; i < options.connections; i++) {
    int64_t count = atomic_load(delivered(i));
    least = count < least ? count : least;
    most = count > most ? count : most;
  }
  printf("{\"at\": %.9f, \"connected\": %d, \"messages\": %lld, \"wire_bytes\": %lld, \"upstream_wire_bytes\": %lld, "
         "\"handshakes\": %lld, \"late\": %lld, \"least\": %lld, \"most\": %lld, \"extension\": \"%s\", "
         "\"upstream_cpu\": %.6f, \"client_cpu\": %.6f, \"histogram\": {",
         (double)now_ns() / 1e9, atomic_load(&shared->connected), (long long)atomic_load(&shared->messages),
         (long long)atomic_load(&shared->wire_bytes), (long long)atomic_load(&shared->upstream_wire_bytes),
         (long long)atomic_load(&shared->handshakes), (long long)atomic_load(&shared->late), (long long)least,
         (long long)most, shared->extension, cpu_seconds(children[0]), cpu_seconds(children[1]));
  const char *comma = "";
  for (int i = 0; i < BUCKETS; i++) {
    long long count = (long long)atomic_load(&shared->histogram[i]);
    if (count == 0) continue;
    printf("%s\"%d\": %lld", comma, i, count);
    comma = ", ";
  }
  printf("}}\n");
}

static void write_records(void) {
  for (int i = 0; options.record && i < RECORDS; i++) {
    char path[4096];
    snprintf(path, sizeof path, "%s.%d", options.record, i);
    FILE *file = fopen(path, "wb");
    size_t length = atomic_load(&shared->records[i].length); /* read once: the clients may still be at it */
    if (file == NULL || fwrite(shared->records[i].bytes, 1, length, file) != length)
      fail("cannot write %s", path);
    fclose(file);
  }
}

static void connect_all(void) {
  int64_t began = now_ns();
  children[1] = start(client_process, 0);
  while (!atomic_load(&shared->failed) && atomic_load(&shared->connected) < options.connections) nap();
  if (!atomic_load(&shared->failed)) printf("connected %.3f\n", (double)(now_ns() - began) / 1e9);
}

static void serve_runner(void) {
  char line[256];
  while (fgets(line, sizeof line, stdin)) {
    int port;
    bool quit = strcmp(line, "quit\n") == 0;
    if (quit) {
      write_records();
      printf("bye\n");
    } else if (sscanf(line, "connect %63s %d", shared->host, &port) == 2) {
      atomic_store(&shared->port, port);
      connect_all();
    } else if (!atomic_load(&shared->failed)) {
      if (strcmp(line, "snapshot\n") == 0) {
        snapshot();
      } else if (strcmp(line, "start\n") == 0) {
        atomic_store(&shared->phase, RUNNING);
        printf("started\n");
      } else if (strcmp(line, "stop\n") == 0) {
        atomic_store(&shared->phase, STOPPED);
        printf("stopped\n");
      } else {
        fail("what is %s", line);
      }
    }
    if (!quit && atomic_load(&shared->failed)) printf("error %s\n", shared->error);
    fflush(stdout);
    if (quit) break;
  }
}

static void parse_arguments(int count, char **arguments) {
  static const char *traffics[] = {"saturated", "paced", "together", "echo", "handshakes"};
  static const char *files[] = {"--push-plain", "--push-deflated", "--client-plain", "--client-deflated"};
  for (int i = 1; i + 1 < count; i += 2) {
    const char *name = arguments[i], *value = arguments[i + 1];
    bool known = true;
    if (strcmp(name, "--traffic") == 0) {
      known = false;
      for (int k = 0; k < 5; k++)
        if (strcmp(value, traffics[k]) == 0) options.traffic = (enum traffic)k, known = true;
    } else if (strcmp(name, "--connections") == 0) options.connections = atoi(value);
    else if (strcmp(name, "--interval-us") == 0) options.interval_us = atoll(value);
    else if (strcmp(name, "--flood") == 0) options.flood = atoi(value);
    else if (strcmp(name, "--most") == 0) options.most = atoll(value);
    else if (strcmp(name, "--upstream-deflates") == 0) options.upstream_deflates = atoi(value) != 0;
    else if (strcmp(name, "--tls") == 0) options.tls = atoi(value) != 0;
    else if (strcmp(name, "--record") == 0) options.record = value;
    else {
      known = false;
      for (int k = 0; k < 4; k++)
        if (strcmp(name, files[k]) == 0) options.frames[k] = value, known = true;
    }
    if (!known) fail("unknown argument %s %s", name, value);
  }
}

int main(int count, char **arguments) {
  parse_arguments(count, arguments);
  struct rlimit files;
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  size_t size = sizeof(struct shared) + sizeof(int64_t) * (size_t)options.connections * (RING + 1);
  struct shared *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) fail("mmap: %s", strerror(errno));
  int port, listening = listen_anywhere(&port);
  shared = memory;
  children[0] = start(upstream_process, listening);
  close(listening);
  printf("listening %d\n", port);
  fflush(stdout);
  serve_runner();
  for (int i = 0; i < 2; i++) {
    if (children[i] == 0) continue;
    kill(children[i], SIGKILL);
    waitpid(children[i], NULL, 0);
  }
  return atomic_load(&shared->failed);
}
