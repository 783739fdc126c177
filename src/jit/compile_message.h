// What goes between the library and a compiler process over their socket: messages of parts, each a string of bytes
// with a zero after it. Both ends are on one machine and of one build.
#ifndef MOEJIT_JIT_COMPILE_MESSAGE_H
#define MOEJIT_JIT_COMPILE_MESSAGE_H

#include "base/text.h"
#include "jit/compiler.h"

#define MJ_COMPILE_PROTOCOL "moejit-compile 1"
#define MJ_MESSAGE_HEAD_BYTES 16
#define MJ_MAX_MESSAGE_PARTS (2 * MJ_MAX_SOURCES + MJ_MAX_COMPILE_OPTIONS + 8)

struct mj_message {
    struct {
        const char *data;
        size_t bytes; // without the zero
    } parts[MJ_MAX_MESSAGE_PARTS];
    int num_parts;
};

void mj_message_begin(struct mj_text *message);
void mj_message_add(struct mj_text *message, const void *data, size_t bytes);
void mj_message_add_string(struct mj_text *message, const char *text); // NULL: an empty one
void mj_message_add_number(struct mj_text *message, int64_t number);
void mj_message_end(struct mj_text *message);

// Bytes of the whole message that starts with this head; 0: it is none.
size_t mj_message_bytes(const void *head);
// False where it is none. The parts point into data.
bool mj_message_parse(const void *data, size_t bytes, struct mj_message *message);
// "" and 0 where the message has no such part.
const char *mj_message_string(const struct mj_message *message, int part);
int64_t mj_message_number(const struct mj_message *message, int part);

// The compiler's first word: which it is, or why it cannot work.
struct mj_compiler_identity {
    moejit_status status;
    int major, minor;
    char path[256], build[64]; // of mj_nvrtc
    struct mj_error error;     // where status is not OK
};
void mj_hello_write(struct mj_text *text, const struct mj_compiler_identity *identity);
bool mj_hello_read(const struct mj_message *message, struct mj_compiler_identity *identity);

void mj_request_write(struct mj_text *text, const struct mj_compile_request *request);
bool mj_request_read(const struct mj_message *message, struct mj_compile_request *request);

// A reply: the image, or the error. read: the image is copied; false where it is none or memory has run out.
void mj_reply_write(struct mj_text *text, moejit_status status, const struct mj_image *image,
                    const struct mj_error *error);
bool mj_reply_read(const struct mj_message *message, moejit_status *status, struct mj_image *image,
                   struct mj_error *error);

#endif
