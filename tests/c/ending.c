/* Forking before and after the first call, and ending while work is queued, runs and is waited for. */
#include "check.h"
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BYTES = 1 << 16, GONE = 500000 };

static aclrtStream stream;

static int use(void) {
    void *memory = NULL;
    DO(aclInit(NULL));
    DO(aclrtSetDevice(0));
    DO(aclrtMalloc(&memory, BYTES, ACL_MEM_MALLOC_HUGE_FIRST));
    DO(aclrtFree(memory));
    DO(aclFinalize());
    return 7;
}

/* What the child, which must not find a working runtime, gets. */
static int refused(void) {
    RETURNS(GONE, aclInit(NULL));
    CHECK(strstr(aclGetRecentErrMsg(), "forked") != NULL);
    return 8;
}

static int in_child(int (*function)(void)) {
    int status;
    pid_t child = fork();
    if (child == 0) exit(function());
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void slow(void *unused) {
    (void)unused;
    usleep(200000);
}

static void *wait_for_it(void *unused) {
    (void)unused;
    if (aclrtSetDevice(0) == 0) aclrtSynchronizeStream(stream);
    return NULL;
}

int main(void) {
    pthread_t waiting;
    aclrtEvent never;
    aclrtStream other;
    void *memory;

    CHECK(in_child(use) == 7);
    CHECK(use() == 7);
    CHECK(in_child(refused) == 8);
    DO(aclInit(NULL));
    DO(aclrtSetDevice(0));
    DO(aclrtCreateStream(&stream));
    DO(aclrtCreateStream(&other));
    DO(aclrtCreateEvent(&never));
    DO(aclrtMalloc(&memory, BYTES, ACL_MEM_MALLOC_HUGE_FIRST));
    DO(aclrtStreamWaitEvent(other, never));
    DO(aclrtMemsetAsync(memory, BYTES, 1, BYTES, other));
    DO(aclrtLaunchHostFunc(stream, slow, NULL));
    DO(aclrtMemsetAsync(memory, BYTES, 2, BYTES, stream));
    CHECK(pthread_create(&waiting, NULL, wait_for_it, NULL) == 0);
    usleep(50000);
    DONE();
}
