// A guest in C, linked as a command: `_start` runs `main`, each time in a fresh instance.
#include <stdio.h>

#include "extism.h"

static int runs;

// "0": output how often this instance ran, and return. Else the input is the exit code, with a message.
int main(int argc, char **argv) {
    (void)argv;
    char *input = extism_input();
    int code = atoi(input);
    free(input);
    runs++;

    block key = extism_text("runs");
    block stored = extism_var_get(key);
    uint64_t all_runs = (stored == 0 ? 0 : extism_load_u64(stored)) + 1;
    extism_var_set(extism_text("runs"), extism_block(&all_runs, sizeof all_runs));

    char text[64];
    int length = snprintf(text, sizeof text, "argc %d, run %d of this instance, %d of all", argc, runs, (int)all_runs);
    extism_output(text, (uint64_t)length);
    if (code != 0) {
        extism_error_set(extism_text("main failed"));
    }
    return code;
}
