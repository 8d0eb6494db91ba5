// The imports of the Extism ABI as C declares them, and what most functions do with them: blocks in and out of
// linear memory, whole. Output and errors are left to the guests.
#pragma once

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

// The offset of a block; 0 is none.
typedef uint64_t block;

#define IMPORT(name) __attribute__((import_module("extism:host/env"), import_name(name))) extern
#define EXPORT(name) __attribute__((export_name(name)))

IMPORT("alloc") block extism_alloc(uint64_t length);
IMPORT("free") void extism_free(block);
IMPORT("length_unsafe") uint64_t extism_length_unsafe(block);
IMPORT("load_u8") uint8_t extism_load_u8(uint64_t offset);
IMPORT("load_u64") uint64_t extism_load_u64(uint64_t offset);
IMPORT("store_u8") void extism_store_u8(uint64_t offset, uint8_t);
IMPORT("store_u64") void extism_store_u64(uint64_t offset, uint64_t);
IMPORT("input_offset") block extism_input_offset(void);
IMPORT("input_length") uint64_t extism_input_length(void);
IMPORT("output_set") void extism_output_set(uint64_t offset, uint64_t length);
IMPORT("error_set") void extism_error_set(block);
IMPORT("config_get") block extism_config_get(block key);
IMPORT("var_get") block extism_var_get(block key);
IMPORT("var_set") void extism_var_set(block key, block value);
IMPORT("log_info") void extism_log_info(block);
IMPORT("log_warn") void extism_log_warn(block);

// A new block with these bytes, eight at a time and then one by one.
static block extism_block(const void *from, uint64_t length) {
    const uint8_t *bytes = from;
    block to = extism_alloc(length);
    uint64_t at = 0;
    for (; length - at >= 8; at += 8) {
        uint64_t word;
        memcpy(&word, bytes + at, 8);
        extism_store_u64(to + at, word);
    }
    for (; at < length; at++) {
        extism_store_u8(to + at, bytes[at]);
    }
    return to;
}

static block extism_text(const char *text) {
    return extism_block(text, strlen(text));
}

// A copy of a block, with a NUL behind it, from `malloc`.
static char *extism_copy(block from, uint64_t length) {
    char *to = malloc(length + 1);
    if (to == NULL) {
        abort();
    }
    uint64_t at = 0;
    for (; length - at >= 8; at += 8) {
        uint64_t word = extism_load_u64(from + at);
        memcpy(to + at, &word, 8);
    }
    for (; at < length; at++) {
        to[at] = (char)extism_load_u8(from + at);
    }
    to[length] = 0;
    return to;
}

static char *extism_input(void) {
    return extism_copy(extism_input_offset(), extism_input_length());
}

// Output of these bytes. The block is freed although it was handed over, as many guests do.
static void extism_output(const void *bytes, uint64_t length) {
    block out = extism_block(bytes, length);
    extism_output_set(out, length);
    extism_free(out);
}
