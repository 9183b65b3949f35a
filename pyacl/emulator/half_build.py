"""Builds the emulator's compiled loops (called by ``setup.py``, never at run time): half precision to float32 and back,
and polynomials.

numpy converts float16 one element after another in software, which is the larger part of the time of nearly every
float16 operator. Machines have instructions for it. Of a polynomial it makes two passes over memory for each degree.
Without a compiler, `half` takes numpy's way; the results are the same, bit by bit.
"""

from __future__ import annotations

import cffi

DECLARATIONS = """
void pyacl_widen(const void *from, void *to, size_t count);
void pyacl_narrow(const void *from, void *to, size_t count);
void pyacl_widen_brain(const void *from, void *to, size_t count);
void pyacl_narrow_brain(const void *from, void *to, size_t count);
void pyacl_polynomial(const float *coefficients, size_t degree, const void *from, void *to, size_t count);
int pyacl_fast(void);
"""

SOURCE = r"""
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__)
#define FAST __attribute__((target("avx2,f16c")))
#else
#define FAST
#endif

FAST void pyacl_widen_brain(const uint16_t *from, float *to, size_t count) {
    for (size_t i = 0; i < count; i++) {
        uint32_t bits = (uint32_t)from[i] << 16;
        memcpy(to + i, &bits, 4);
    }
}

FAST void pyacl_narrow_brain(const float *from, uint16_t *to, size_t count) {
    for (size_t i = 0; i < count; i++) {
        float value = from[i];
        uint32_t bits;
        memcpy(&bits, &value, 4);
        int32_t rounded = bits + 0x7fff + (bits >> 16 & 1), nan = 0x7fc00000 | (bits & 0x80000000);
        rounded = value != value ? nan : rounded; /* signed: compilers blend that well */
        to[i] = (uint32_t)rounded >> 16;
    }
}

#define RUN 256

/* The highest coefficient comes first. */
FAST void pyacl_polynomial(const float *coefficients, size_t degree, const float *from, float *to, size_t count) {
    float x[RUN] = {0}, y[RUN];
    for (size_t i = 0; i < count; i += RUN) {
        size_t n = count - i < RUN ? count - i : RUN;
        memcpy(x, from + i, n * sizeof *x);
        for (size_t k = 0; k < RUN; k++)
            y[k] = coefficients[0];
        for (size_t d = 1; d <= degree; d++)
            for (size_t k = 0; k < RUN; k++)
                y[k] = y[k] * x[k] + coefficients[d];
        memcpy(to + i, y, n * sizeof *y);
    }
}

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>

FAST void pyacl_widen(const uint16_t *from, float *to, size_t count) {
    size_t i = 0;
    for (; i + 8 <= count; i += 8)
        _mm256_storeu_ps(to + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(from + i))));
    for (; i < count; i++)
        to[i] = _cvtsh_ss(from[i]);
}

FAST void pyacl_narrow(const float *from, uint16_t *to, size_t count) {
    size_t i = 0;
    for (; i + 8 <= count; i += 8)
        _mm_storeu_si128((__m128i *)(to + i), _mm256_cvtps_ph(_mm256_loadu_ps(from + i), _MM_FROUND_TO_NEAREST_INT));
    for (; i < count; i++)
        to[i] = _cvtss_sh(from[i], _MM_FROUND_TO_NEAREST_INT);
}

int pyacl_fast(void) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("f16c"); }

#elif defined(__aarch64__)

void pyacl_widen(const uint16_t *from, float *to, size_t count) {
    for (size_t i = 0; i < count; i++) {
        __fp16 value;
        memcpy(&value, from + i, 2);
        to[i] = value;
    }
}

void pyacl_narrow(const float *from, uint16_t *to, size_t count) {
    for (size_t i = 0; i < count; i++) {
        __fp16 value = (__fp16)from[i];
        memcpy(to + i, &value, 2);
    }
}

int pyacl_fast(void) { return 1; }

#else

void pyacl_widen(const uint16_t *from, float *to, size_t count) { (void)from; (void)to; (void)count; }
void pyacl_narrow(const float *from, uint16_t *to, size_t count) { (void)from; (void)to; (void)count; }
int pyacl_fast(void) { return 0; }

#endif
"""


def half() -> cffi.FFI:
    ffi = cffi.FFI()
    ffi.cdef(DECLARATIONS)
    # A product and a sum are rounded one after the other, as in numpy.
    ffi.set_source("pyacl.emulator._half", SOURCE, optional=True,
                   extra_compile_args=["-O3", "-g0", "-w", "-ffp-contract=off"])
    return ffi
