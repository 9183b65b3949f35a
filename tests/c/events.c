/* Events order streams and measure time. */
#include "check.h"

enum { N = 4096 };

int main(void) {
    aclrtStream producer, consumer;
    aclrtEvent ready, start, stop;
    aclrtEventRecordedStatus status;
    void *a, *b;
    unsigned char host[N];
    float ms = -1;

    DO(aclInit(NULL));
    DO(aclrtSetDevice(0));
    DO(aclrtCreateStream(&producer));
    DO(aclrtCreateStream(&consumer));
    DO(aclrtCreateEventExWithFlag(&ready, ACL_EVENT_SYNC));
    DO(aclrtCreateEventWithFlag(&start, ACL_EVENT_TIME_LINE));
    DO(aclrtCreateEventWithFlag(&stop, ACL_EVENT_TIME_LINE));
    DO(aclrtMalloc(&a, N, ACL_MEM_MALLOC_HUGE_FIRST));
    DO(aclrtMalloc(&b, N, ACL_MEM_MALLOC_HUGE_FIRST));

    DO(aclrtRecordEvent(start, producer));
    DO(aclrtMemsetAsync(a, N, 3, N, producer));
    DO(aclrtRecordEvent(ready, producer));
    DO(aclrtRecordEvent(stop, producer));
    DO(aclrtStreamWaitEvent(consumer, ready));
    DO(aclrtMemcpyAsync(b, N, a, N, ACL_MEMCPY_DEVICE_TO_DEVICE, consumer));
    DO(aclrtSynchronizeStream(consumer)); /* and with it the part of the producer that it waits for */
    DO(aclrtMemcpy(host, N, b, N, ACL_MEMCPY_DEVICE_TO_HOST));
    for (int i = 0; i < N; i++) CHECK(host[i] == 3);
    DO(aclrtQueryEventStatus(ready, &status));
    CHECK(status == ACL_EVENT_RECORDED_STATUS_COMPLETE);
    DO(aclrtSynchronizeEvent(stop));
    DO(aclrtEventElapsedTime(&ms, start, stop));
    CHECK(ms >= 0);
    RETURNS(107000, aclrtSynchronizeEventWithTimeout(stop, -2));

    DO(aclrtDestroyEvent(ready));
    CHECK(aclrtRecordEvent(ready, producer) != 0); /* destroyed */
    DO(aclrtDestroyEvent(start));
    DO(aclrtDestroyEvent(stop));
    DO(aclrtFree(a));
    DO(aclrtFree(b));
    DO(aclrtDestroyStream(producer));
    DO(aclrtDestroyStream(consumer));
    DO(aclrtResetDevice(0));
    DO(aclFinalize());
    DONE();
}
