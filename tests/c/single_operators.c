/* aclop: single operators by type, compiled and executed, and by handle. */
#include "check.h"

enum { N = 16 };

int main(void) {
    int64_t shape[1] = {N};
    float x[N], y[N], z[N];
    void *dx, *dy, *dz;
    aclTensorDesc *descs[2], *result[1];
    aclDataBuffer *inputs[2], *outputs[1];
    aclopAttr *attr;
    aclopHandle *handle;
    aclrtStream stream;

    DO(aclInit(NULL));
    DO(aclrtSetDevice(0));
    DO(aclrtCreateStream(&stream));
    for (int i = 0; i < N; i++) x[i] = (float)i, y[i] = 0.5f;
    DO(aclrtMalloc(&dx, sizeof x, ACL_MEM_MALLOC_HUGE_FIRST));
    DO(aclrtMalloc(&dy, sizeof y, ACL_MEM_MALLOC_HUGE_FIRST));
    DO(aclrtMalloc(&dz, sizeof z, ACL_MEM_MALLOC_HUGE_FIRST));
    DO(aclrtMemcpy(dx, sizeof x, x, sizeof x, ACL_MEMCPY_HOST_TO_DEVICE));
    DO(aclrtMemcpy(dy, sizeof y, y, sizeof y, ACL_MEMCPY_HOST_TO_DEVICE));
    descs[0] = aclCreateTensorDesc(ACL_FLOAT, 1, shape, ACL_FORMAT_ND);
    descs[1] = aclCreateTensorDesc(ACL_FLOAT, 1, shape, ACL_FORMAT_ND);
    result[0] = aclCreateTensorDesc(ACL_FLOAT, 1, shape, ACL_FORMAT_ND);
    CHECK(aclGetTensorDescSize(result[0]) == sizeof z);
    inputs[0] = aclCreateDataBuffer(dx, sizeof x);
    inputs[1] = aclCreateDataBuffer(dy, sizeof y);
    outputs[0] = aclCreateDataBuffer(dz, sizeof z);
    attr = aclopCreateAttr();
    CHECK(attr != NULL);

    DO(aclopCompileAndExecute("Add", 2, (const aclTensorDesc *const *)descs, (const aclDataBuffer *const *)inputs, 1,
                              (const aclTensorDesc *const *)result, outputs, attr, ACL_ENGINE_SYS, ACL_COMPILE_SYS,
                              NULL, stream));
    DO(aclrtSynchronizeStream(stream));
    DO(aclrtMemcpy(z, sizeof z, dz, sizeof z, ACL_MEMCPY_DEVICE_TO_HOST));
    for (int i = 0; i < N; i++) CHECK(z[i] == x[i] + 0.5f);
    CHECK(aclopCompileAndExecute("NoSuchOperator", 2, (const aclTensorDesc *const *)descs,
                                 (const aclDataBuffer *const *)inputs, 1, (const aclTensorDesc *const *)result, outputs,
                                 attr, ACL_ENGINE_SYS, ACL_COMPILE_SYS, NULL, stream) != 0);

    DO(aclopCompile("Mul", 2, (const aclTensorDesc *const *)descs, 1, (const aclTensorDesc *const *)result, attr,
                    ACL_ENGINE_SYS, ACL_COMPILE_SYS, NULL));
    DO(aclopCreateHandle("Mul", 2, (const aclTensorDesc *const *)descs, 1, (const aclTensorDesc *const *)result, attr,
                         &handle));
    DO(aclopExecWithHandle(handle, 2, (const aclDataBuffer *const *)inputs, 1, outputs, stream));
    DO(aclrtSynchronizeStream(stream));
    DO(aclrtMemcpy(z, sizeof z, dz, sizeof z, ACL_MEMCPY_DEVICE_TO_HOST));
    for (int i = 0; i < N; i++) CHECK(z[i] == x[i] * 0.5f);
    aclopDestroyHandle(handle);

    aclopDestroyAttr(attr);
    for (int i = 0; i < 2; i++) {
        DO(aclDestroyDataBuffer(inputs[i]));
        aclDestroyTensorDesc(descs[i]);
    }
    DO(aclDestroyDataBuffer(outputs[0]));
    aclDestroyTensorDesc(result[0]);
    DO(aclrtFree(dx));
    DO(aclrtFree(dy));
    DO(aclrtFree(dz));
    DO(aclrtDestroyStream(stream));
    DO(aclrtResetDevice(0));
    DO(aclFinalize());
    DONE();
}
