/* A custom kernel: load, build arguments, launch, change an argument. argv[1]: examples/kernels/add_custom, compiled. */
#include "check.h"

enum { N = 100 };

int main(int count, char **arguments) {
    float x[N], y[N], z[N], scale = 2;
    void *dx, *dy, *dz, *tiling;
    aclrtBinHandle binary;
    aclrtFuncHandle function;
    aclrtArgsHandle args;
    aclrtParamHandle any, placeholder, last;
    aclrtStream stream;

    CHECK(count == 2);
    DO(aclInit(NULL));
    DO(aclrtSetDevice(0));
    DO(aclrtCreateStream(&stream));
    for (int i = 0; i < N; i++) x[i] = (float)i, y[i] = 1;
    DO(aclrtMalloc(&dx, sizeof x, ACL_MEM_MALLOC_HUGE_FIRST));
    DO(aclrtMalloc(&dy, sizeof y, ACL_MEM_MALLOC_HUGE_FIRST));
    DO(aclrtMalloc(&dz, sizeof z, ACL_MEM_MALLOC_HUGE_FIRST));
    DO(aclrtMemcpy(dx, sizeof x, x, sizeof x, ACL_MEMCPY_HOST_TO_DEVICE));
    DO(aclrtMemcpy(dy, sizeof y, y, sizeof y, ACL_MEMCPY_HOST_TO_DEVICE));

    DO(aclrtBinaryLoadFromFile(arguments[1], NULL, &binary));
    DO(aclrtBinaryGetFunction(binary, "add_custom", &function));
    CHECK(aclrtBinaryGetFunction(binary, "no_such_kernel", &function) != 0);
    DO(aclrtBinaryGetFunction(binary, "add_custom", &function));

    DO(aclrtKernelArgsInit(function, &args));
    DO(aclrtKernelArgsAppend(args, &dx, sizeof dx, &any));
    DO(aclrtKernelArgsAppend(args, &dy, sizeof dy, &any));
    DO(aclrtKernelArgsAppend(args, &dz, sizeof dz, &any));
    DO(aclrtKernelArgsAppendPlaceHolder(args, &placeholder));
    DO(aclrtKernelArgsAppend(args, &scale, sizeof scale, &last));
    DO(aclrtKernelArgsGetPlaceHolderBuffer(args, placeholder, sizeof(uint32_t), &tiling));
    *(uint32_t *)tiling = N;
    DO(aclrtKernelArgsFinalize(args));
    DO(aclrtLaunchKernelWithConfig(function, 8, stream, NULL, args, NULL));
    DO(aclrtSynchronizeStream(stream));
    DO(aclrtMemcpy(z, sizeof z, dz, sizeof z, ACL_MEMCPY_DEVICE_TO_HOST));
    for (int i = 0; i < N; i++) CHECK(z[i] == 2 * (x[i] + 1));

    scale = 3;
    DO(aclrtKernelArgsParaUpdate(args, last, &scale, sizeof scale));
    DO(aclrtKernelArgsFinalize(args));
    DO(aclrtLaunchKernelWithConfig(function, 1, stream, NULL, args, NULL));
    DO(aclrtSynchronizeStream(stream));
    DO(aclrtMemcpy(z, sizeof z, dz, sizeof z, ACL_MEMCPY_DEVICE_TO_HOST));
    for (int i = 0; i < N; i++) CHECK(z[i] == 3 * (x[i] + 1));

    DO(aclrtBinaryUnLoad(binary));
    DO(aclrtFree(dx));
    DO(aclrtFree(dy));
    DO(aclrtFree(dz));
    DO(aclrtDestroyStream(stream));
    DO(aclrtResetDevice(0));
    DO(aclFinalize());
    DONE();
}
