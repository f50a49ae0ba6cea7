#ifndef LLAMABUILD_STDDEF_H
#define LLAMABUILD_STDDEF_H
typedef unsigned long long size_t;
typedef long long ptrdiff_t;
#define NULL ((void *)0)
#endif
