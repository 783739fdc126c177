// Messages between the library and its compilers: what is written is read, and what is not a message is refused,
// whatever it is.
#include "../cmocka_all.h"

#include <stdlib.h>
#include <string.h>

#include "jit/compile_message.h"

static void write_request(struct mj_text *text, bool ptx_only, struct mj_compile_request *request) {
    struct mj_source_set sources;
    struct mj_error error;
    assert_int_equal(mj_source_set_create(&sources, NULL, &error), MOEJIT_STATUS_OK);
    mj_compiler_request(&sources, "#include \"route.cuh\"\n", "moejit_route", mj_arch_find("sm_90a"), ptx_only,
                        request);
    mj_request_write(text, request);
    assert_false(text->failed);
    mj_source_set_destroy(&sources); // the texts are the library's own
}

static void a_request_arrives_as_it_was(void **state) {
    struct mj_text text = {0};
    struct mj_compile_request sent, got;
    struct mj_message message;
    (void)state;
    write_request(&text, false, &sent);
    assert_int_equal(mj_message_bytes(text.data), text.bytes);
    assert_true(mj_message_parse(text.data, text.bytes, &message));
    assert_true(mj_request_read(&message, &got));
    assert_string_equal(got.symbol, sent.symbol);
    assert_string_equal(got.unit, sent.unit);
    assert_string_equal(got.arch, "sm_90a");
    assert_int_equal(got.nvrtc_major, sent.nvrtc_major);
    assert_int_equal(got.num_options, sent.num_options);
    for (int i = 0; i < got.num_options; i++) assert_string_equal(got.options[i], sent.options[i]);
    assert_int_equal(got.num_headers, sent.num_headers);
    assert_true(got.num_headers >= 3);
    for (int i = 0; i < got.num_headers; i++) {
        assert_string_equal(got.header_names[i], sent.header_names[i]);
        assert_string_equal(got.header_texts[i], sent.header_texts[i]);
    }
    mj_text_free(&text);
}

static void ptx_alone_is_of_a_virtual_arch(void **state) {
    struct mj_text text = {0};
    struct mj_compile_request sent;
    (void)state;
    write_request(&text, true, &sent);
    assert_string_equal(sent.arch, "compute_90a");
    mj_text_free(&text);
}

static void a_reply_arrives_as_it_was(void **state) {
    static char cubin[] = "\177ELF\0\0with zeros", ptx[] = ".version 8.8", log[] = "Used 7 registers";
    const struct mj_image image = {cubin, sizeof(cubin), ptx, sizeof(ptx), log};
    struct mj_image got;
    struct mj_error error = {0}, got_error;
    struct mj_text text = {0};
    struct mj_message message;
    moejit_status status;
    (void)state;
    mj_reply_write(&text, MOEJIT_STATUS_OK, &image, &error);
    assert_true(mj_message_parse(text.data, text.bytes, &message));
    assert_true(mj_reply_read(&message, &status, &got, &got_error));
    assert_int_equal(status, MOEJIT_STATUS_OK);
    assert_int_equal(got.cubin_bytes, sizeof(cubin));
    assert_memory_equal(got.cubin, cubin, sizeof(cubin));
    assert_int_equal(got.ptx_bytes, sizeof(ptx));
    assert_string_equal(got.ptx, ptx);
    assert_string_equal(got.log, log);
    mj_image_free(&got);
    const struct mj_image none = {0};
    mj_error_set(&error, MOEJIT_STATUS_COMPILE_FAILED, "it is wrong");
    mj_reply_write(&text, MOEJIT_STATUS_COMPILE_FAILED, &none, &error);
    assert_true(mj_message_parse(text.data, text.bytes, &message));
    assert_true(mj_reply_read(&message, &status, &got, &got_error));
    assert_int_equal(status, MOEJIT_STATUS_COMPILE_FAILED);
    assert_string_equal(got_error.message, "it is wrong");
    assert_null(got.cubin);
    mj_text_free(&text);
}

// A copy in memory of exactly its size, so that a sanitizer sees a byte read too many.
static bool read_copy(const char *data, size_t bytes) {
    struct mj_message message;
    struct mj_compile_request request;
    struct mj_compiler_identity identity;
    char *copy = malloc(bytes > 0 ? bytes : 1);
    assert_non_null(copy);
    memcpy(copy, data, bytes);
    bool good = mj_message_parse(copy, bytes, &message);
    if (good) {
        mj_hello_read(&message, &identity);
        mj_request_read(&message, &request);
    }
    free(copy);
    return good;
}

static void what_is_cut_is_refused(void **state) {
    struct mj_text text = {0};
    struct mj_compile_request request;
    (void)state;
    write_request(&text, false, &request);
    for (size_t bytes = 0; bytes < text.bytes; bytes += bytes < 400 ? 1 : 97) {
        assert_false(read_copy(text.data, bytes));
    }
    assert_true(read_copy(text.data, text.bytes));
    mj_text_free(&text);
}

// Lengths and counts that lie; a flip inside a value is another value.
static void what_is_changed_is_another_message_or_none(void **state) {
    struct mj_text text = {0};
    struct mj_compile_request request;
    uint64_t random = 88172645463325252U;
    int refused = 0;
    (void)state;
    write_request(&text, false, &request);
    for (int i = 0; i < 20000; i++) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        size_t byte = (size_t)(random >> 8) % (i % 2 == 0 ? 300 : text.bytes);
        char kept = text.data[byte];
        text.data[byte] = (char)(kept ^ (1 << (random & 7)));
        refused += !read_copy(text.data, text.bytes);
        text.data[byte] = kept;
    }
    assert_true(refused > 1000);
    mj_text_free(&text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_arrives_as_it_was),
        cmocka_unit_test(ptx_alone_is_of_a_virtual_arch),
        cmocka_unit_test(a_reply_arrives_as_it_was),
        cmocka_unit_test(what_is_cut_is_refused),
        cmocka_unit_test(what_is_changed_is_another_message_or_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
