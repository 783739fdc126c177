// The safetensors parser, on good files and on hostile ones: each of these is refused with a sentence of its own.
#include "../cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "safetensors.h"

#define MAX_FILE 8192

// A file of that header and `bytes` bytes of data, parsed. The data lies at the end of an allocation, so that ASan sees
// a read past it.
static moejit_status parse(const char *header, uint64_t length, size_t bytes, struct mj_safetensors *file,
                           struct mj_error *error) {
    static uint8_t *data; // of the last call: tensors point into it
    size_t text = strlen(header);
    free(data);
    data = malloc(8 + text + bytes);
    assert_non_null(data);
    for (int i = 0; i < 8; i++) data[i] = (uint8_t)(length >> 8 * i);
    memcpy(data + 8, header, text);
    memset(data + 8 + text, 0xab, bytes);
    return mj_safetensors_parse(data, 8 + text + bytes, "F", file, error);
}

static void refused(const char *header, size_t bytes, const char *sentence) {
    struct mj_safetensors file;
    struct mj_error error = {0};
    assert_int_equal(parse(header, strlen(header), bytes, &file, &error), MOEJIT_STATUS_INVALID_ARGUMENT);
    assert_int_equal(error.status, MOEJIT_STATUS_INVALID_ARGUMENT);
    if (strstr(error.message, sentence) == NULL) fail_msg("\"%s\" has no \"%s\"", error.message, sentence);
    assert_null(file.tensors);
}

static void tensors_lie_where_the_header_says(void **state) {
    struct mj_safetensors file;
    struct mj_error error = {0};
    const char *header = "{\"b\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[6,10]},"
                         "\"a\":{\"dtype\":\"BF16\",\"shape\":[3,1],\"data_offsets\":[0,6]},"
                         "\"none\":{\"dtype\":\"U8\",\"shape\":[0,5],\"data_offsets\":[6,6]},"
                         "\"__metadata__\":{\"format\":\"pt\"}}   ";
    (void)state;
    assert_int_equal(parse(header, strlen(header), 10, &file, &error), MOEJIT_STATUS_OK);
    assert_int_equal(file.num_tensors, 3);
    assert_string_equal(file.tensors[0].name, "a");
    assert_string_equal(file.tensors[1].name, "none");
    assert_string_equal(file.tensors[2].name, "b");
    assert_int_equal(file.tensors[0].dtype, MJ_TENSOR_BF16);
    assert_int_equal(file.tensors[0].shape[0], 3);
    assert_int_equal(file.tensors[0].bytes, 6);
    assert_int_equal(file.tensors[1].bytes, 0);
    assert_int_equal(file.tensors[2].num_dimensions, 0);
    assert_true(file.tensors[2].data == file.tensors[0].data + 6);
    char text[16];
    mj_tensor_describe(&file.tensors[0], text, sizeof(text));
    assert_string_equal(text, "BF16 [3, 1]");
    mj_tensor_describe(&file.tensors[0], text, 8); // cut
    assert_string_equal(text, "BF16 [3");
    mj_safetensors_free(&file);
}

static void four_and_six_bit_elements_fill_whole_bytes(void **state) {
    struct mj_safetensors file;
    struct mj_error error = {0};
    const char *header = "{\"a\":{\"dtype\":\"F4\",\"shape\":[6],\"data_offsets\":[0,3]},"
                         "\"b\":{\"dtype\":\"F6_E2M3\",\"shape\":[4],\"data_offsets\":[3,6]}}";
    (void)state;
    assert_int_equal(parse(header, strlen(header), 6, &file, &error), MOEJIT_STATUS_OK);
    mj_safetensors_free(&file);
    refused("{\"a\":{\"dtype\":\"F4\",\"shape\":[5],\"data_offsets\":[0,3]}}", 3, "20 bits, which are no whole bytes");
}

static void truncated_files(void **state) {
    struct mj_safetensors file;
    struct mj_error error = {0};
    const char *header = "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}";
    uint8_t start[8] = {0};
    (void)state;
    for (size_t bytes = 0; bytes < 8; bytes++) {
        assert_int_equal(mj_safetensors_parse(start, bytes, "F", &file, &error), MOEJIT_STATUS_INVALID_ARGUMENT);
        assert_non_null(strstr(error.message, "a safetensors file at least 8"));
    }
    assert_int_equal(mj_safetensors_parse(start, 8, "F", &file, &error), MOEJIT_STATUS_INVALID_ARGUMENT);
    assert_non_null(strstr(error.message, "is no JSON"));
    refused(header, 3, "has bytes 0 to 4, but the file holds 3");
    refused(header, 5, "holds 5 bytes after its header, but its tensors end at 4");
    // Lengths of headers that are not there, up to those that overflow.
    static const uint64_t lengths[] = {100, 100u << 20, 1u << 30, INT64_MAX, UINT64_MAX - 7, UINT64_MAX};
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        assert_int_equal(parse(header, lengths[i], 4, &file, &error), MOEJIT_STATUS_INVALID_ARGUMENT);
        assert_non_null(strstr(error.message, "bytes follow its length"));
    }
}

static void headers_of_a_hundred_megabytes(void **state) {
    struct mj_safetensors file;
    struct mj_error error = {0};
    size_t length = (size_t)100 << 20;
    uint8_t *data = malloc(8 + length);
    (void)state;
    assert_non_null(data);
    memset(data + 8, ' ', length);
    for (int i = 0; i < 8; i++) data[i] = (uint8_t)(length >> 8 * i);
    assert_int_equal(mj_safetensors_parse(data, 8 + length, "F", &file, &error), MOEJIT_STATUS_INVALID_ARGUMENT);
    assert_non_null(strstr(error.message, "has 104857600 bytes of JSON, at most 67108864 are taken"));
    free(data);
}

static void headers_that_are_no_header(void **state) {
    (void)state;
    refused("", 0, "is no JSON");
    refused("[]", 0, "is JSON, but no object");
    refused("{\"a\":", 0, "is no JSON");
    refused("{} {}", 0, "is no JSON");
    refused("{\"a\":3}", 0, "tensor a is described by no JSON object");
    refused("{\"a\":{},\"a\":{}}", 0, "duplicate object key");
    refused("{\"\":{}}", 0, "unprintable name");
    refused("{\"\\u001b[2J\":{}}", 0, "unprintable name");
    refused("{\"\\u0000\":{}}", 0, "is no JSON");
    refused("{\"\xff\":{}}", 0, "is no JSON");
}

static void deep_headers(void **state) {
    char header[MAX_FILE];
    (void)state;
    memset(header, '[', sizeof(header));
    memcpy(header, "{\"a\":", 5);
    header[sizeof(header) - 1] = '\0';
    refused(header, 0, "is no JSON");
}

#define TENSOR(dtype, shape, offsets) "{\"a\":{\"dtype\":" dtype ",\"shape\":" shape ",\"data_offsets\":" offsets "}}"

static void types_and_shapes(void **state) {
    (void)state;
    refused(TENSOR("\"F5\"", "[4]", "[0,4]"), 4, "has dtype \"F5\", which is none of the format's");
    refused(TENSOR("7", "[4]", "[0,4]"), 4, "has dtype \"\"");
    refused(TENSOR("\"\\u001b\"", "[4]", "[0,4]"), 4, "has dtype \"\"");
    refused(TENSOR("\"U8\"", "4", "[0,4]"), 4, "has no array \"shape\"");
    refused(TENSOR("\"U8\"", "[4.0]", "[0,4]"), 4, "no whole number");
    refused(TENSOR("\"U8\"", "[-4]", "[0,4]"), 4, "no whole number");
    refused(TENSOR("\"U8\"", "[\"4\"]", "[0,4]"), 4, "no whole number");
    refused(TENSOR("\"U8\"", "[99999999999999999999]", "[0,4]"), 4, "is no JSON");
    refused(TENSOR("\"U8\"", "[1,1,1,1,1,1,1,1,1]", "[0,1]"), 1, "has 9 dimensions, at most 8");
    refused(TENSOR("\"U8\"", "[5]", "[0,4]"), 4, "has 4 bytes, but is U8 [5], which needs 5");
    refused(TENSOR("\"F32\"", "[1]", "[0,3]"), 3, "has 3 bytes, but is F32 [1], which needs 4");
    // Products that overflow, to exactly what the bytes are.
    refused(TENSOR("\"U8\"", "[4294967296,4294967296]", "[0,0]"), 0, "more than 2^64 bits");
    refused(TENSOR("\"F64\"", "[2305843009213693952]", "[0,0]"), 0, "more than 2^64 bits");
    refused(TENSOR("\"U8\"", "[9223372036854775807,2]", "[0,0]"), 0, "more than 2^64 bits");
}

static void offsets(void **state) {
    (void)state;
    refused(TENSOR("\"U8\"", "[4]", "[0]"), 4, "no \"data_offsets\" of two whole numbers");
    refused(TENSOR("\"U8\"", "[4]", "[0,4,8]"), 4, "no \"data_offsets\" of two whole numbers");
    refused(TENSOR("\"U8\"", "[4]", "{}"), 4, "no \"data_offsets\" of two whole numbers");
    refused(TENSOR("\"U8\"", "[4]", "[0.0,4]"), 4, "no \"data_offsets\" of two whole numbers");
    refused(TENSOR("\"U8\"", "[4]", "[-4,0]"), 4, "no \"data_offsets\" of two whole numbers");
    refused(TENSOR("\"U8\"", "[4]", "[4,0]"), 4, "has bytes 4 to 0");
    refused(TENSOR("\"U8\"", "[4]", "[1,5]"), 4, "has bytes 1 to 5, but the file holds 4");
    refused(TENSOR("\"U8\"", "[4]", "[9223372036854775803,9223372036854775807]"), 4, "but the file holds 4");
    refused(TENSOR("\"U8\"", "[4]", "[1,5]"), 5, "there is a hole");
}

static void overlaps_and_holes(void **state) {
    (void)state;
#define TWO(first, second)                                                                                             \
    "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":" first "},"                                              \
    "\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":" second "}}"
    refused(TWO("[0,4]", "[3,7]"), 7,
            "tensor b begins at byte 3, but the tensor before it ends at byte 4: they overlap");
    refused(TWO("[0,4]", "[0,4]"), 4, "they overlap");
    refused(TWO("[5,9]", "[0,4]"), 9,
            "tensor a begins at byte 5, but the tensor before it ends at byte 4: there is a hole");
    refused("{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
            "\"none\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[2,2]}}",
            4, "they overlap");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tensors_lie_where_the_header_says),
        cmocka_unit_test(four_and_six_bit_elements_fill_whole_bytes),
        cmocka_unit_test(truncated_files),
        cmocka_unit_test(headers_of_a_hundred_megabytes),
        cmocka_unit_test(headers_that_are_no_header),
        cmocka_unit_test(deep_headers),
        cmocka_unit_test(types_and_shapes),
        cmocka_unit_test(offsets),
        cmocka_unit_test(overlaps_and_holes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
