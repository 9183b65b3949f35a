/* Kernels compiled for the host, for pyacl's emulator. See docs/kernel-abi.md.
 *
 *     gcc -shared -fPIC -O2 -I"$(python -m pyacl kernel include)" add_custom.c -o add_custom.so
 */
#ifndef PYACL_KERNEL_H
#define PYACL_KERNEL_H

#include <stdint.h>

/* What a kernel learns about the block that it runs. */
typedef struct pyacl_block {
    uint32_t index;       /* which block, 0 ... count - 1 */
    uint32_t count;       /* how many the launch asked for */
    uint32_t args_size;   /* bytes of the argument block, placeholders' data included */
    uint32_t system_size; /* bytes of system slots at its beginning: 8 for mix kernels, else 0 */
    uint32_t part;        /* of a mix kernel's vector function: which of the block's vector cores */
    uint32_t parts;       /* how many there are */
} pyacl_block;

#ifdef __cplusplus
#define PYACL_KERNEL extern "C" __attribute__((visibility("default"))) void
#else
#define PYACL_KERNEL __attribute__((visibility("default"))) void
#endif

/* Optional: the argument types, so that launches are checked: PYACL_KERNEL_ARGS(add, "float32*, float32*, uint32"). */
#ifdef __cplusplus
#define PYACL_KERNEL_ARGS(name, types) \
    extern "C" __attribute__((visibility("default"))) const char pyacl_args_##name[]; \
    __attribute__((used)) const char pyacl_args_##name[] = types
#else
#define PYACL_KERNEL_ARGS(name, types) \
    __attribute__((visibility("default"), used)) const char pyacl_args_##name[] = types
#endif

#endif
