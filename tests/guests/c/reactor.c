// A guest in C, linked as a reactor: functions that are called by name, and constructors that run before them.
#include <ctype.h>
#include <stdio.h>

#include "extism.h"

static int constructed;

__attribute__((constructor)) static void construct(void) {
    constructed++;
    extism_log_info(extism_text("constructed"));
}

EXPORT("constructed") int32_t times_constructed(void) {
    char text[16];
    extism_output(text, (uint64_t)snprintf(text, sizeof text, "%d", constructed));
    return 0;
}

EXPORT("count_vowels") int32_t count_vowels(void) {
    char *input = extism_input();
    int count = 0;
    for (char *at = input; *at; at++) {
        count += strchr("aeiouAEIOU", *at) != NULL;
    }
    free(input);
    char text[32];
    extism_output(text, (uint64_t)snprintf(text, sizeof text, "{\"count\":%d}", count));
    return 0;
}

// The input is the output, without a copy of it.
EXPORT("echo") void echo(void) {
    block input = extism_input_offset();
    extism_output_set(input, extism_length_unsafe(input));
}

EXPORT("upper") int32_t upper(void) {
    char *input = extism_input();
    uint64_t length = extism_input_length();
    for (uint64_t at = 0; at < length; at++) {
        input[at] = (char)toupper((unsigned char)input[at]);
    }
    extism_output(input, length);
    free(input);
    return 0;
}

// The input without its first and its last byte: a range inside a block.
EXPORT("inner") int32_t inner(void) {
    extism_output_set(extism_input_offset() + 1, extism_input_length() - 2);
    return 0;
}

// Counts its calls in a variable, in steps that the configuration gives. Keys are freed a second time.
EXPORT("counter") int32_t counter(void) {
    block key = extism_text("step");
    block configured = extism_config_get(key);
    extism_free(key);
    uint64_t step = 1;
    if (configured != 0) {
        char *text = extism_copy(configured, extism_length_unsafe(configured));
        step = strtoull(text, NULL, 10);
        free(text);
        extism_free(configured);
    }
    key = extism_text("count");
    block stored = extism_var_get(key);
    extism_free(key);
    uint64_t count = stored == 0 ? 0 : extism_load_u64(stored);
    count += step;
    key = extism_text("count");
    block value = extism_block(&count, sizeof count);
    extism_var_set(key, value);
    extism_free(value);
    extism_free(key);
    extism_output(&count, sizeof count);
    return 0;
}

// Fails with the input as the message, and its length as the code. The output before is lost.
EXPORT("fail") int32_t fail(void) {
    extism_output("lost", 4);
    block input = extism_input_offset();
    uint64_t length = extism_length_unsafe(input);
    extism_error_set(input);
    extism_free(input);
    return (int32_t)length;
}

EXPORT("log") int32_t log_input(void) {
    char *input = extism_input();
    extism_log_warn(extism_text(input));
    free(input);
    return 0;
}

EXPORT("print") int32_t print(void) {
    printf("to standard output\n");
    fprintf(stderr, "to standard error\n");
    int swallowed = fflush(stdout) == 0 && !ferror(stderr);
    int ended = getchar() == EOF;
    int alone = getenv("PATH") == NULL;
    char text[16];
    extism_output(text, (uint64_t)snprintf(text, sizeof text, "%d%d%d", swallowed, ended, alone));
    return 0;
}

// As much from malloc as the input says, all of it touched; whether there was that much.
EXPORT("allocate") int32_t allocate(void) {
    char *input = extism_input();
    size_t length = strtoul(input, NULL, 10);
    free(input);
    char *all = malloc(length);
    if (all == NULL) {
        extism_output("no memory", 9);
        return 0;
    }
    memset(all, 'x', length);
    extism_output(all + length - 1, 1);
    free(all);
    return 0;
}

EXPORT("abort") void end(void) {
    extism_error_set(extism_text("about to abort"));
    abort();
}

EXPORT("exit") int32_t end_with_code(void) {
    char *input = extism_input();
    exit(atoi(input));
}
