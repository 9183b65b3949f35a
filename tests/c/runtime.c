/* Initialisation, device, contexts, streams, versions, error texts. */
#include "check.h"

int main(void) {
    uint32_t count = 0;
    int32_t device = -1;
    aclrtContext implicit, made, current;
    aclrtStream stream;
    const char *text;

    DO(aclInit(NULL));
    RETURNS(100002, aclInit(NULL)); /* harmless, as documented */
    DO(aclrtGetDeviceCount(&count));
    CHECK(count >= 1);
    RETURNS(107002, aclrtGetDevice(&device)); /* no context in this thread yet */
    DO(aclrtSetDevice(0));
    DO(aclrtGetDevice(&device));
    CHECK(device == 0);
    CHECK(aclrtGetSocName() != NULL && strncmp(aclrtGetSocName(), "Ascend", 6) == 0);

    DO(aclrtGetCurrentContext(&implicit));
    DO(aclrtCreateContext(&made, 0));
    DO(aclrtGetCurrentContext(&current));
    CHECK(current == made);
    DO(aclrtCreateStream(&stream));
    DO(aclrtSetCurrentContext(implicit));
    RETURNS(107003, aclrtSynchronizeStream(stream)); /* a stream of the other context */
    text = aclGetRecentErrMsg();
    CHECK(text != NULL && *text);
    CHECK(aclGetRecentErrMsg() == NULL); /* reading clears it */
    DO(aclrtSetCurrentContext(made));
    DO(aclrtSynchronizeStream(stream));
    DO(aclrtDestroyStream(stream));
    DO(aclrtDestroyContext(made));

    DO(aclrtSetCurrentContext(implicit));
    DO(aclrtSynchronizeStream(NULL)); /* the default stream */
    DO(aclrtSynchronizeDevice());
    CHECK(aclrtCreateStream(NULL) != 0);
    CHECK(aclrtSynchronizeStream((aclrtStream)0x1234) != 0);
    DO(aclrtResetDevice(0));
    DO(aclFinalize());
    RETURNS(100037, aclFinalize());
    DONE();
}
