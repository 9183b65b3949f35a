/* A custom kernel: load, build arguments in both ways, launch in all ways, change arguments, what is refused.
 * argv[1]: examples/kernels/add_custom, compiled. */
#include "check.h"

enum { N = 100 };

/* The arguments of add_custom as they lie in a block, with the placeholder's data behind them. */
struct block {
    void *x, *y, *z;
    uint32_t *tiling;
    float scale;
    uint32_t unused;
    uint32_t total;
};

static float x[N], y[N], z[N];
static void *dx, *dy, *dz;
static aclrtStream stream;
static int faults;

static void expect(float scale) {
    DO(aclrtSynchronizeStream(stream));
    DO(aclrtMemcpy(z, sizeof z, dz, sizeof z, ACL_MEMCPY_DEVICE_TO_HOST));
    for (int i = 0; i < N; i++) CHECK(z[i] == scale * (x[i] + 1));
    DO(aclrtMemset(dz, sizeof z, 0, sizeof z));
}

/* Appends the five arguments; the last one's handle. */
static aclrtParamHandle fill(aclrtArgsHandle args, float scale) {
    aclrtParamHandle any, placeholder, last;
    void *tiling;
    DO(aclrtKernelArgsAppend(args, &dx, sizeof dx, &any));
    DO(aclrtKernelArgsAppend(args, &dy, sizeof dy, &any));
    DO(aclrtKernelArgsAppend(args, &dz, sizeof dz, &any));
    DO(aclrtKernelArgsAppendPlaceHolder(args, &placeholder));
    DO(aclrtKernelArgsAppend(args, &scale, sizeof scale, &last));
    DO(aclrtKernelArgsGetPlaceHolderBuffer(args, placeholder, sizeof(uint32_t), &tiling));
    *(uint32_t *)tiling = N;
    RETURNS(ACL_ERROR_RT_FEATURE_NOT_SUPPORT, aclrtKernelArgsAppend(args, &dx, sizeof dx, &any));
    RETURNS(ACL_ERROR_RT_PARAM_INVALID, aclrtKernelArgsGetPlaceHolderBuffer(args, last, 4, &tiling));
    DO(aclrtKernelArgsFinalize(args));
    RETURNS(ACL_ERROR_RT_FEATURE_NOT_SUPPORT, aclrtKernelArgsAppendPlaceHolder(args, &placeholder));
    RETURNS(ACL_ERROR_RT_PARAM_INVALID, aclrtKernelArgsParaUpdate(args, last, &dx, sizeof dx));
    return last;
}

static void launch(aclrtFuncHandle function, uint32_t blocks, aclrtArgsHandle args) {
    DO(aclrtLaunchKernelWithConfig(function, blocks, stream, NULL, args, NULL));
}

static void told(aclrtExceptionInfo *info, void *user) {
    aclrtFuncHandle function;
    char name[64];
    CHECK(user == (void *)&faults);
    CHECK(aclrtGetErrorCodeFromExceptionInfo(info) == ACL_ERROR_RT_AICORE_EXCEPTION);
    CHECK(aclrtGetFuncHandleFromExceptionInfo(info, &function) == 0);
    CHECK(aclrtGetFunctionName(function, sizeof name, name) == 0);
    CHECK(!strcmp(name, "add_custom"));
    faults++;
}

int main(int count, char **arguments) {
    aclrtBinHandle binary, second;
    aclrtFuncHandle function, other;
    aclrtArgsHandle args, own;
    aclrtParamHandle last;
    size_t handle_size, memory_size;
    float scale;

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

    CHECK(aclrtBinaryLoadFromFile("/nowhere/add_custom.o", NULL, &binary) != 0);
    DO(aclrtBinaryLoadFromFile(arguments[1], NULL, &binary));
    CHECK(aclrtBinaryGetFunction(binary, "no_such_kernel", &function) != 0);
    DO(aclrtBinaryGetFunction(binary, "add_custom", &function));
    RETURNS(ACL_ERROR_RT_INVALID_HANDLE, aclrtBinaryGetFunction(function, "add_custom", &other));

    /* The list that the runtime keeps for this thread. */
    DO(aclrtKernelArgsInit(function, &args));
    RETURNS(ACL_ERROR_RT_PARAM_INVALID, aclrtLaunchKernelWithConfig(function, 1, stream, NULL, args, NULL));
    last = fill(args, 2);
    RETURNS(ACL_ERROR_INVALID_PARAM, aclrtLaunchKernelWithConfig(function, 0, stream, NULL, args, NULL));
    for (uint32_t blocks = 1; blocks <= 64; blocks++) {
        launch(function, blocks, args);
        expect(2);
    }
    launch(function, 3, args); /* keeps its 2: what is changed later is for later launches */
    scale = 3;
    DO(aclrtKernelArgsParaUpdate(args, last, &scale, sizeof scale));
    RETURNS(ACL_ERROR_RT_PARAM_INVALID, aclrtLaunchKernelWithConfig(function, 1, stream, NULL, args, NULL));
    expect(2);
    DO(aclrtKernelArgsFinalize(args));
    launch(function, 1, args);
    expect(3);

    /* A list in memory of one's own; the runtime's is wiped meanwhile. */
    DO(aclrtKernelArgsGetHandleMemSize(function, &handle_size));
    DO(aclrtKernelArgsGetMemSize(function, 48, &memory_size));
    CHECK(memory_size >= 48);
    own = malloc(handle_size);
    void *memory = malloc(memory_size);
    RETURNS(ACL_ERROR_RT_INVALID_HANDLE, aclrtKernelArgsFinalize(own));
    DO(aclrtKernelArgsInitByUserMem(function, own, memory, memory_size));
    last = fill(own, 4);
    DO(aclrtKernelArgsInit(function, &args));
    RETURNS(ACL_ERROR_RT_PARAM_INVALID, aclrtLaunchKernelWithConfig(function, 1, stream, NULL, args, NULL));
    launch(function, 7, own);
    scale = 5;
    DO(aclrtKernelArgsParaUpdate(own, last, &scale, sizeof scale));
    DO(aclrtKernelArgsFinalize(own));
    expect(4);
    launch(function, 7, own);
    expect(5);

    /* A block in host memory, whose placeholder the runtime fills in. */
    struct block block = {dx, dy, dz, NULL, 6, 0, N};
    aclrtPlaceHolderInfo place = {offsetof(struct block, tiling), offsetof(struct block, total)};
    aclrtPlaceHolderInfo outside = {offsetof(struct block, tiling), sizeof block};
    DO(aclrtLaunchKernelWithHostArgs(function, 5, stream, NULL, &block, sizeof block, &place, 1));
    block.scale = 0;
    expect(6);
    RETURNS(ACL_ERROR_RT_PARAM_INVALID,
            aclrtLaunchKernelWithHostArgs(function, 5, stream, NULL, &block, sizeof block, &outside, 1));

    /* A block in device memory: all addresses in it are the user's. */
    char *device;
    DO(aclrtMalloc((void **)&device, sizeof block, ACL_MEM_MALLOC_HUGE_FIRST));
    block.scale = 7;
    block.tiling = (uint32_t *)(device + offsetof(struct block, total));
    DO(aclrtMemcpy(device, sizeof block, &block, sizeof block, ACL_MEMCPY_HOST_TO_DEVICE));
    DO(aclrtLaunchKernel(function, 8, device, sizeof block, stream));
    expect(7);

    /* With attributes. */
    aclrtLaunchKernelAttr attributes[2];
    memset(attributes, 0, sizeof attributes);
    attributes[0].id = ACL_RT_LAUNCH_KERNEL_ATTR_SCHEM_MODE;
    attributes[0].value.schemMode = 1;
    attributes[1].id = ACL_RT_LAUNCH_KERNEL_ATTR_TIMEOUT;
    attributes[1].value.timeout = 9;
    aclrtLaunchKernelCfg config = {attributes, 2};
    DO(aclrtLaunchKernelV2(function, 8, device, sizeof block, &config, stream));
    expect(7);
    attributes[0].id = ACL_RT_LAUNCH_KERNEL_ATTR_TIMEOUT_US;
    RETURNS(ACL_ERROR_RT_PARAM_INVALID, aclrtLaunchKernelV2(function, 8, device, sizeof block, &config, stream));

    /* A bad address is a fault at the next synchronise, and the stream goes on. */
    DO(aclrtBinarySetExceptionCallback(binary, told, &faults));
    block.x = (void *)0x10;
    DO(aclrtLaunchKernelWithHostArgs(function, 5, stream, NULL, &block, sizeof block, &place, 1));
    RETURNS(ACL_ERROR_RT_AICORE_EXCEPTION, aclrtSynchronizeStream(stream));
    CHECK(faults == 1);
    launch(function, 7, own);
    expect(5);

    /* A second load is a binary of its own; its functions go with it. */
    DO(aclrtBinaryLoadFromFile(arguments[1], NULL, &second));
    DO(aclrtBinaryGetFunction(second, "add_custom", &other));
    RETURNS(ACL_ERROR_RT_PARAM_INVALID, aclrtLaunchKernelWithConfig(other, 1, stream, NULL, own, NULL));
    DO(aclrtBinaryUnLoad(second));
    RETURNS(ACL_ERROR_RT_INVALID_HANDLE, aclrtLaunchKernelWithConfig(other, 1, stream, NULL, own, NULL));
    RETURNS(ACL_ERROR_RT_INVALID_HANDLE, aclrtBinaryUnLoad(second));
    launch(function, 7, own);
    expect(5);

    DO(aclrtBinaryUnLoad(binary));
    RETURNS(ACL_ERROR_RT_INVALID_HANDLE, aclrtKernelArgsFinalize(own));
    free(own);
    free(memory);
    DO(aclrtFree(device));
    DO(aclrtFree(dx));
    DO(aclrtFree(dy));
    DO(aclrtFree(dz));
    DO(aclrtDestroyStream(stream));
    DO(aclrtResetDevice(0));
    DO(aclFinalize());
    DONE();
}
