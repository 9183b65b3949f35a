/* What every program here begins with: the declarations, and checks that end the program. */
#ifndef CHECK_H
#define CHECK_H

#ifdef REAL_HEADERS /* CANN's own for the runtime; operators come from cdefs/ */
#include <acl/acl.h>
#include <acl/acl_op_compiler.h>
#include <acl/ops/acl_cblas.h>
#ifdef __cplusplus
extern "C" {
#endif
typedef int32_t aclnnStatus;
#ifdef __cplusplus
}
#endif
#else
#include "pyacl_acl.h"
#endif
#include "pyacl_aclnn.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                                    \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

/* The call returns `wanted`. */
#define RETURNS(wanted, call)                                                                                          \
    do {                                                                                                               \
        long got_ = (long)(call);                                                                                      \
        if (got_ != (long)(wanted)) {                                                                                  \
            const char *text_ = aclGetRecentErrMsg();                                                                  \
            fprintf(stderr, "%s:%d: %s returned %ld, not %ld: %s\n", __FILE__, __LINE__, #call, got_, (long)(wanted),  \
                    text_ ? text_ : "no text");                                                                        \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

#define DO(call) RETURNS(0, call)

#define DONE()                                                                                                         \
    do {                                                                                                               \
        puts("done");                                                                                                  \
        return 0;                                                                                                      \
    } while (0)

#endif
