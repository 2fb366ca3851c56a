#include "load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void frames_load(struct frames *frames, const char *path) {
  FILE *file = fopen(path, "rb");
  if (file == NULL) fail("cannot read %s", path);
  uint32_t count, length;
  if (fread(&count, 4, 1, file) != 1 || count == 0) fail("no frames in %s", path);
  frames->count = (int)count;
  frames->offsets = calloc(count + 1, sizeof(size_t));
  size_t room = 1 << 20, used = 0;
  frames->bytes = malloc(room);
  for (uint32_t i = 0; i < count; i++) {
    if (fread(&length, 4, 1, file) != 1) fail("%s ends early", path);
    while (used + length > room) frames->bytes = realloc(frames->bytes, room *= 2);
    if (fread(frames->bytes + used, 1, length, file) != length) fail("%s ends early", path);
    frames->offsets[i] = used;
    used += length;
  }
  frames->offsets[count] = used;
  fclose(file);
}

/* How long the head is, as far as it is known. */
static int head_length(const struct reader *reader) {
  if (reader->have < 2) return 2;
  int code = reader->head[1] & 127, masked = reader->head[1] >> 7;
  return 2 + (code == 126 ? 2 : code == 127 ? 8 : 0) + (masked ? 4 : 0);
}

static void parse_head(struct reader *reader) {
  int code = reader->head[1] & 127, extended = code == 126 ? 2 : code == 127 ? 8 : 0;
  uint64_t size = extended ? 0 : (uint64_t)code;
  for (int i = 0; i < extended; i++) size = size << 8 | reader->head[2 + i];
  reader->size = reader->left = size;
  reader->mask = reader->head[1] & 128 ? reader->head + 2 + extended : NULL;
  reader->in_payload = true;
  if (is_control(reader) && size > 125) fail("a control frame of %llu bytes", (unsigned long long)size);
}

void reader_feed(struct reader *reader, const struct listener *listener, void *who, uint8_t *data, size_t length) {
  while (length > 0 || (reader->in_payload && reader->left == 0)) {
    if (!reader->in_payload) {
      reader->head[reader->have++] = *data++;
      length--;
      if (reader->have < 2 || reader->have < head_length(reader)) continue;
      parse_head(reader);
      if (listener->begin) listener->begin(who, reader);
    }
    size_t piece = length < reader->left ? length : (size_t)reader->left;
    if (is_control(reader)) memcpy(reader->control + (reader->size - reader->left), data, piece);
    if (piece > 0 && listener->payload) listener->payload(who, reader, data, piece);
    reader->left -= piece;
    data += piece;
    length -= piece;
    if (reader->left > 0) continue;
    reader->in_payload = false;
    reader->have = 0;
    listener->end(who, reader);
  }
}
