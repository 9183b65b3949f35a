/* Threads with streams of their own, starting the interpreter all at once. */
#include "check.h"
#include <pthread.h>

enum { THREADS = 8, ROUNDS = 20, BYTES = 1 << 12 };

static pthread_barrier_t together;
static int host_calls[THREADS];

static void called(void *counter) { ++*(int *)counter; }

static void *work(void *argument) {
    int number = (int)(size_t)argument;
    aclrtStream stream;
    void *a, *b;
    unsigned char *host = (unsigned char *)malloc(BYTES);
    aclError code;

    pthread_barrier_wait(&together);
    code = aclInit(NULL); /* the first of them starts Python */
    CHECK(code == 0 || code == 100002);
    DO(aclrtSetDevice(0));
    DO(aclrtCreateStream(&stream));
    DO(aclrtMalloc(&a, BYTES, ACL_MEM_MALLOC_HUGE_FIRST));
    DO(aclrtMalloc(&b, BYTES, ACL_MEM_MALLOC_HUGE_FIRST));
    for (int round = 0; round < ROUNDS; round++) {
        DO(aclrtMemsetAsync(a, BYTES, number * ROUNDS + round, BYTES, stream));
        DO(aclrtMemcpyAsync(b, BYTES, a, BYTES, ACL_MEMCPY_DEVICE_TO_DEVICE, stream));
        DO(aclrtLaunchHostFunc(stream, called, &host_calls[number]));
        DO(aclrtMemcpyAsync(host, BYTES, b, BYTES, ACL_MEMCPY_DEVICE_TO_HOST, stream));
        DO(aclrtSynchronizeStream(stream));
        CHECK(host_calls[number] == round + 1);
        for (int i = 0; i < BYTES; i++) CHECK(host[i] == (unsigned char)(number * ROUNDS + round));
    }
    /* Texts belong to the thread that failed. */
    CHECK(aclrtFree(host) != 0);
    CHECK(aclGetRecentErrMsg() != NULL && aclGetRecentErrMsg() == NULL);
    DO(aclrtDestroyStream(stream));
    DO(aclrtFree(a));
    DO(aclrtFree(b));
    free(host);
    return NULL;
}

int main(void) {
    pthread_t threads[THREADS];

    CHECK(pthread_barrier_init(&together, NULL, THREADS) == 0);
    for (size_t i = 0; i < THREADS; i++) CHECK(pthread_create(&threads[i], NULL, work, (void *)i) == 0);
    for (size_t i = 0; i < THREADS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
    DO(aclFinalize());
    DONE();
}
