// Any bytes as a safetensors file: refused with a sentence, or tensors that tile the file's data, every byte of them
// readable.
#include <stdlib.h>
#include <string.h>

#include "safetensors.h"

static void require(int good) {
    if (!good) abort();
}

static volatile uint8_t sink;

static void check_tensors(const struct mj_safetensors *file, const uint8_t *end) {
    const uint8_t *at = file->num_tensors > 0 ? file->tensors[0].data : end;
    for (size_t i = 0; i < file->num_tensors; i++) {
        const struct mj_tensor *tensor = &file->tensors[i];
        char text[64];
        mj_tensor_describe(tensor, text, sizeof(text));
        require(tensor->data == at && tensor->bytes <= (size_t)(end - at) && tensor->name[0] != '\0');
        for (size_t byte = 0; byte < tensor->bytes; byte++) sink = (uint8_t)(sink ^ tensor->data[byte]);
        at += tensor->bytes;
    }
    require(at == end);
}

static void parse(const uint8_t *data, size_t size) {
    struct mj_safetensors file;
    struct mj_error error = {0};
    moejit_status status = mj_safetensors_parse(data, size, "fuzz", &file, &error);
    if (status == MOEJIT_STATUS_OK) {
        check_tensors(&file, data + size);
    } else {
        require(error.status == status && error.message[0] != '\0' && file.tensors == NULL);
    }
    mj_safetensors_free(&file);
}

// The same with a length that fits, but for as many bytes of data as the first byte says: most mutations break the
// length.
static void parse_framed(const uint8_t *data, size_t size) {
    size_t tail = data[0] % (size - 7), length = size - 8 - tail;
    uint8_t *framed = malloc(size);
    require(framed != NULL);
    memcpy(framed, data, size);
    for (int i = 0; i < 8; i++) framed[i] = (uint8_t)(length >> 8 * i);
    parse(framed, size);
    free(framed);
}

// The symbol that libFuzzer calls.
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    parse(data, size);
    if (size >= 8) parse_framed(data, size);
    return 0;
}
