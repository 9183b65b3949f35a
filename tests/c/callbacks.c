/* Host functions in a stream, in both schemes, and a thread that serves reports. */
#include "check.h"
#include <pthread.h>

static int order[4], calls;
static aclrtStream reported;
static volatile int stop;

static void note(void *value) { order[calls++] = (int)(size_t)value; }

static void *serve(void *context) {
    DO(aclrtSetCurrentContext((aclrtContext)context));
    while (!stop) {
        aclError code = aclrtProcessReport(100);
        CHECK(code == 0 || code == 507012 || code == 107012); /* nothing came, or not subscribed yet */
    }
    return NULL;
}

int main(void) {
    aclrtStream stream;
    aclrtContext context;
    pthread_t server;
    void *a;
    unsigned char byte = 0;

    DO(aclInit(NULL));
    DO(aclrtSetDevice(0));
    DO(aclrtGetCurrentContext(&context));
    DO(aclrtCreateStream(&stream));
    DO(aclrtMalloc(&a, 64, ACL_MEM_MALLOC_HUGE_FIRST));

    DO(aclrtLaunchHostFunc(stream, note, (void *)1));
    DO(aclrtMemsetAsync(a, 64, 9, 64, stream));
    DO(aclrtLaunchHostFunc(stream, note, (void *)2));
    DO(aclrtSynchronizeStream(stream));
    CHECK(calls == 2 && order[0] == 1 && order[1] == 2);
    DO(aclrtMemcpy(&byte, 1, a, 1, ACL_MEMCPY_DEVICE_TO_HOST));
    CHECK(byte == 9);

    DO(aclrtCreateStream(&reported));
    RETURNS(107015, aclrtLaunchCallback(note, (void *)3, ACL_CALLBACK_BLOCK, reported)); /* nobody serves it */
    CHECK(pthread_create(&server, NULL, serve, context) == 0);
    DO(aclrtSubscribeReport((uint64_t)server, reported));
    DO(aclrtLaunchCallback(note, (void *)3, ACL_CALLBACK_BLOCK, reported));
    DO(aclrtLaunchCallback(note, (void *)4, ACL_CALLBACK_BLOCK, reported));
    DO(aclrtSynchronizeStream(reported));
    CHECK(calls == 4 && order[2] == 3 && order[3] == 4);
    DO(aclrtUnSubscribeReport((uint64_t)server, reported));
    stop = 1;
    CHECK(pthread_join(server, NULL) == 0);

    DO(aclrtDestroyStream(reported));
    DO(aclrtDestroyStream(stream));
    DO(aclrtFree(a));
    DO(aclrtResetDevice(0));
    DO(aclFinalize());
    DONE();
}
