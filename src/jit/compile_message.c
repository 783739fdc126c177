#include "jit/compile_message.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAGIC 0x6d6a636dU
#define MOST_BYTES ((size_t)1 << 30)

struct head {
    uint32_t magic, num_parts;
    uint64_t bytes; // of the parts
};
_Static_assert(sizeof(struct head) == MJ_MESSAGE_HEAD_BYTES, "a message's head has no padding");

void mj_message_begin(struct mj_text *message) {
    static const struct head head = {.magic = MAGIC};
    message->bytes = 0;
    mj_text_append_bytes(message, &head, sizeof(head));
}

void mj_message_add(struct mj_text *message, const void *data, size_t bytes) {
    const uint64_t length = bytes;
    struct head head;
    mj_text_append_bytes(message, &length, sizeof(length));
    mj_text_append_bytes(message, data, bytes);
    mj_text_append_bytes(message, "", 1);
    if (message->failed) return;
    memcpy(&head, message->data, sizeof(head));
    head.num_parts++;
    memcpy(message->data, &head, sizeof(head));
}

void mj_message_add_string(struct mj_text *message, const char *text) {
    mj_message_add(message, text, text != NULL ? strlen(text) : 0);
}

void mj_message_add_number(struct mj_text *message, int64_t number) {
    char text[32];
    snprintf(text, sizeof(text), "%" PRId64, number);
    mj_message_add_string(message, text);
}

void mj_message_end(struct mj_text *message) {
    struct head head;
    if (message->failed) return;
    memcpy(&head, message->data, sizeof(head));
    head.bytes = message->bytes - sizeof(head);
    memcpy(message->data, &head, sizeof(head));
}

size_t mj_message_bytes(const void *data) {
    struct head head;
    memcpy(&head, data, sizeof(head));
    return head.magic == MAGIC && head.bytes < MOST_BYTES ? sizeof(head) + (size_t)head.bytes : 0;
}

bool mj_message_parse(const void *data, size_t bytes, struct mj_message *message) {
    const char *at = data, *end = at + bytes;
    struct head head;
    if (bytes < sizeof(head) || mj_message_bytes(data) != bytes) return false;
    memcpy(&head, data, sizeof(head));
    if (head.num_parts > MJ_MAX_MESSAGE_PARTS) return false;
    at += sizeof(head);
    message->num_parts = 0;
    for (uint32_t i = 0; i < head.num_parts; i++) {
        uint64_t length;
        if ((size_t)(end - at) < sizeof(length) + 1) return false;
        memcpy(&length, at, sizeof(length));
        at += sizeof(length);
        if (length > (size_t)(end - at) - 1 || at[length] != '\0') return false;
        message->parts[message->num_parts].data = at;
        message->parts[message->num_parts++].bytes = (size_t)length;
        at += length + 1;
    }
    return at == end;
}

const char *mj_message_string(const struct mj_message *message, int part) {
    return part < message->num_parts ? message->parts[part].data : "";
}

int64_t mj_message_number(const struct mj_message *message, int part) {
    return strtoll(mj_message_string(message, part), NULL, 10);
}

void mj_hello_write(struct mj_text *text, const struct mj_compiler_identity *identity) {
    mj_message_begin(text);
    mj_message_add_string(text, MJ_COMPILE_PROTOCOL);
    mj_message_add_number(text, identity->status);
    mj_message_add_number(text, identity->major);
    mj_message_add_number(text, identity->minor);
    mj_message_add_string(text, identity->path);
    mj_message_add_string(text, identity->build);
    mj_message_add_string(text, identity->error.message);
    mj_message_end(text);
}

bool mj_hello_read(const struct mj_message *message, struct mj_compiler_identity *identity) {
    if (message->num_parts != 7 || strcmp(message->parts[0].data, MJ_COMPILE_PROTOCOL) != 0) return false;
    identity->status = (moejit_status)mj_message_number(message, 1);
    identity->major = (int)mj_message_number(message, 2);
    identity->minor = (int)mj_message_number(message, 3);
    snprintf(identity->path, sizeof(identity->path), "%s", message->parts[4].data);
    snprintf(identity->build, sizeof(identity->build), "%s", message->parts[5].data);
    mj_error_set(&identity->error, identity->status, "%s", message->parts[6].data);
    return true;
}

void mj_request_write(struct mj_text *text, const struct mj_compile_request *request) {
    mj_message_begin(text);
    mj_message_add_string(text, request->symbol);
    mj_message_add_string(text, request->unit);
    mj_message_add_string(text, request->arch);
    mj_message_add_number(text, request->nvrtc_major);
    mj_message_add_number(text, request->nvrtc_minor);
    mj_message_add_number(text, request->num_options);
    for (int i = 0; i < request->num_options; i++) mj_message_add_string(text, request->options[i]);
    for (int i = 0; i < request->num_headers; i++) {
        mj_message_add_string(text, request->header_names[i]);
        mj_message_add_string(text, request->header_texts[i]);
    }
    mj_message_end(text);
}

bool mj_request_read(const struct mj_message *message, struct mj_compile_request *request) {
    int part = 6;
    int64_t num_options = mj_message_number(message, 5);
    if (num_options < 0 || num_options > MJ_MAX_COMPILE_OPTIONS || part + num_options > message->num_parts)
        return false;
    *request = (struct mj_compile_request){
        .symbol = mj_message_string(message, 0),
        .unit = mj_message_string(message, 1),
        .nvrtc_major = (int)mj_message_number(message, 3),
        .nvrtc_minor = (int)mj_message_number(message, 4),
        .num_options = (int)num_options,
    };
    snprintf(request->arch, sizeof(request->arch), "%s", mj_message_string(message, 2));
    for (int i = 0; i < request->num_options; i++) request->options[i] = message->parts[part++].data;
    for (; part + 1 < message->num_parts && request->num_headers < MJ_MAX_SOURCES; request->num_headers++) {
        request->header_names[request->num_headers] = message->parts[part++].data;
        request->header_texts[request->num_headers] = message->parts[part++].data;
    }
    return part == message->num_parts;
}

void mj_reply_write(struct mj_text *text, moejit_status status, const struct mj_image *image,
                    const struct mj_error *error) {
    mj_message_begin(text);
    mj_message_add_number(text, status);
    mj_message_add_string(text, status != MOEJIT_STATUS_OK ? error->message : "");
    mj_message_add(text, image->cubin, image->cubin_bytes);
    mj_message_add(text, image->ptx, image->ptx_bytes);
    mj_message_add_string(text, image->log);
    mj_message_end(text);
}

// NULL where memory has run out; an empty part is NULL, too.
static void *copy_part(const struct mj_message *message, int part, size_t extra, size_t *bytes, bool *failed) {
    *bytes = message->parts[part].bytes;
    if (*bytes == 0) return NULL;
    void *copy = malloc(*bytes + extra);
    *failed |= copy == NULL;
    if (copy != NULL) memcpy(copy, message->parts[part].data, *bytes + extra);
    return copy;
}

bool mj_reply_read(const struct mj_message *message, moejit_status *status, struct mj_image *image,
                   struct mj_error *error) {
    bool failed = false;
    size_t log_bytes;
    if (message->num_parts != 5) return false;
    *status = (moejit_status)mj_message_number(message, 0);
    mj_error_set(error, *status, "%s", mj_message_string(message, 1));
    *image = (struct mj_image){0};
    if (*status != MOEJIT_STATUS_OK) return true;
    image->cubin = copy_part(message, 2, 0, &image->cubin_bytes, &failed);
    image->ptx = copy_part(message, 3, 0, &image->ptx_bytes, &failed);
    image->log = copy_part(message, 4, 1, &log_bytes, &failed);
    if (failed) mj_image_free(image);
    return !failed;
}
