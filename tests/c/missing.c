/* What is not emulated fails and says so; what cannot start fails, too. Called with the expected code. */
#include "check.h"

extern
#ifdef __cplusplus
    "C"
#endif
    int rtKernelLaunch(void);

int main(int count, char **arguments) {
    long wanted = count > 1 ? atol(arguments[1]) : 200001;
    const char *text;

    RETURNS(wanted, rtKernelLaunch());
    text = aclGetRecentErrMsg();
    CHECK(text != NULL);
    puts(text);
    DONE();
}
