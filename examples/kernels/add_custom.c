/* z = scale * (x + y): each block adds its part of the elements.
 *
 *     gcc -shared -fPIC -O2 -I../../pyacl/emulator/kernels add_custom.c -o add_custom.so
 */
#include "pyacl_kernel.h"

/* The arguments as they lie in the argument block; every one begins at a multiple of 8 bytes. */
struct arguments {
    const float *x, *y;
    float *z;
    const uint32_t *tiling; /* a placeholder: how many elements there are */
    float scale;
};

PYACL_KERNEL_ARGS(add_custom, "float32*, float32*, float32*, placeholder, float32");

PYACL_KERNEL add_custom(const struct arguments *args, const pyacl_block *block) {
    uint32_t total = args->tiling[0];
    uint32_t share = (total + block->count - 1) / block->count;
    uint32_t begin = block->index * share;
    uint32_t end = begin + share < total ? begin + share : total;
    for (uint32_t i = begin; i < end; i++) args->z[i] = args->scale * (args->x[i] + args->y[i]);
}
