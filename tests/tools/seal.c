// Seals files as smkdc does, for tests that make or change artifacts: seal FILE...
#include "../../base/base.h"

#include <stdio.h>

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++)
        if (seal_file(argv[i]) != SMKD_OK) {
            perror(argv[i]);
            return 1;
        }
    return 0;
}
