#ifndef LLAMABUILD_STDIO_H
#define LLAMABUILD_STDIO_H
#include <stddef.h>
typedef struct FILE FILE;
#endif
