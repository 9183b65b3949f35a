/* The one variadic function. */
#include "check.h"

int main(void) {
    DO(aclInit(NULL));
    aclAppLog(ACL_ERROR, "main", "log.c", 7, "%d of %s, %.1f %%", 4, "them", 0.5);
    aclAppLog(ACL_INFO, NULL, NULL, 0, NULL);
    DO(aclFinalize());
    DONE();
}
