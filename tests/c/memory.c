/* Device and host memory: copies, fills, limits, misuse. */
#include "check.h"

enum { N = 1000 };

int main(void) {
    void *a, *b, *pinned;
    unsigned char host[N], back[N];
    size_t free_bytes = 0, total = 0, left = 0;
    aclrtStream stream;

    DO(aclInit(NULL));
    DO(aclrtSetDevice(0));
    DO(aclrtCreateStream(&stream));
    DO(aclrtGetMemInfo(ACL_HBM_MEM, &free_bytes, &total));
    CHECK(free_bytes <= total && total > ((size_t)1 << 30));

    DO(aclrtMalloc(&a, N, ACL_MEM_MALLOC_HUGE_FIRST));
    DO(aclrtMalloc(&b, N, ACL_MEM_MALLOC_NORMAL_ONLY));
    CHECK((size_t)a % 64 == 0 && (size_t)b % 64 == 0);
    DO(aclrtGetMemInfo(ACL_HBM_MEM, &left, &total));
    CHECK(left < free_bytes);

    for (int i = 0; i < N; i++) host[i] = (unsigned char)(i * 7);
    DO(aclrtMemcpy(a, N, host, N, ACL_MEMCPY_HOST_TO_DEVICE));
    DO(aclrtMemcpy(b, N, a, N, ACL_MEMCPY_DEVICE_TO_DEVICE));
    DO(aclrtMemcpy(back, N, b, N, ACL_MEMCPY_DEVICE_TO_HOST));
    CHECK(memcmp(host, back, N) == 0);

    /* What a stream was given to do is done once it is synchronised. */
    DO(aclrtMallocHost(&pinned, N));
    memset(pinned, 0, N);
    DO(aclrtMemsetAsync(b, N, 0x5A, N, stream));
    DO(aclrtMemcpyAsync(pinned, N, b, N, ACL_MEMCPY_DEVICE_TO_HOST, stream));
    DO(aclrtSynchronizeStream(stream));
    for (int i = 0; i < N; i++) CHECK(((unsigned char *)pinned)[i] == 0x5A);

    CHECK(aclrtMemcpy(a, 10, host, 11, ACL_MEMCPY_HOST_TO_DEVICE) != 0);    /* more than there is room for */
    CHECK(aclrtMalloc(&a + 0, 0, ACL_MEM_MALLOC_HUGE_FIRST) != 0);          /* nothing */
    CHECK(aclrtMalloc(NULL, N, ACL_MEM_MALLOC_HUGE_FIRST) != 0);
    RETURNS(207001, aclrtMalloc(&pinned, total * 2, ACL_MEM_MALLOC_HUGE_FIRST));
    DO(aclrtFree(b));
    CHECK(aclrtFree(b) != 0); /* twice */
    DO(aclrtDestroyStream(stream));
    DO(aclrtResetDevice(0));
    DO(aclFinalize());
    DONE();
}
