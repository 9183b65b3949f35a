/* aclop: single operators by type, compiled and executed, by handle, with attributes, unused inputs and constants; what
 * is refused. */
#include "check.h"

enum { N = 16 };

static void *device(const void *data, size_t size) {
    void *found;
    DO(aclrtMalloc(&found, size, ACL_MEM_MALLOC_HUGE_FIRST));
    if (data) DO(aclrtMemcpy(found, size, data, size, ACL_MEMCPY_HOST_TO_DEVICE));
    return found;
}

static aclTensorDesc *vector(void) {
    int64_t shape[1] = {N};
    aclTensorDesc *found = aclCreateTensorDesc(ACL_FLOAT, 1, shape, ACL_FORMAT_ND);
    CHECK(found != NULL);
    CHECK(aclGetTensorDescSize(found) == N * sizeof(float));
    return found;
}

int main(void) {
    float x[N], y[N], z[N], half = 0.5f;
    int64_t dynamic[1] = {-1}, range[1][2] = {{1, N}}, one[1] = {1}, axes[1] = {0};
    aclTensorDesc *descs[3], *result[1], *unknown[2];
    aclDataBuffer *inputs[3], *outputs[1];
    aclopHandle *handle;
    aclrtStream stream;

    DO(aclInit(NULL));
    DO(aclrtSetDevice(0));
    DO(aclrtCreateStream(&stream));
    for (int i = 0; i < N; i++) x[i] = (float)i, y[i] = half;
    void *dx = device(x, sizeof x), *dy = device(y, sizeof y), *dz = device(NULL, sizeof z);
    descs[0] = vector(), descs[1] = vector(), result[0] = vector();
    inputs[0] = aclCreateDataBuffer(dx, sizeof x);
    inputs[1] = aclCreateDataBuffer(dy, sizeof y);
    outputs[0] = aclCreateDataBuffer(dz, sizeof z);
    aclopAttr *attr = aclopCreateAttr();
    CHECK(attr != NULL);
    const aclTensorDesc *const *described = (const aclTensorDesc *const *)descs;
    const aclTensorDesc *const *resulting = (const aclTensorDesc *const *)result;
    const aclDataBuffer *const *given = (const aclDataBuffer *const *)inputs;

    /* By description: compiled and executed in one call. */
    DO(aclopCompileAndExecute("Add", 2, described, given, 1, resulting, outputs, attr, ACL_ENGINE_SYS, ACL_COMPILE_SYS,
                              NULL, stream));
    DO(aclrtSynchronizeStream(stream));
    DO(aclrtMemcpy(z, sizeof z, dz, sizeof z, ACL_MEMCPY_DEVICE_TO_HOST));
    for (int i = 0; i < N; i++) CHECK(z[i] == x[i] + half);
    CHECK(aclopCompileAndExecute("NoSuchOperator", 2, described, given, 1, resulting, outputs, attr, ACL_ENGINE_SYS,
                                 ACL_COMPILE_SYS, NULL, stream) != 0);

    /* By handle: a model must be there first; any number of times, in order. */
    RETURNS(ACL_ERROR_OP_NOT_FOUND, aclopCreateHandle("Mul", 2, described, 1, resulting, attr, &handle));
    DO(aclopCompile("Mul", 2, described, 1, resulting, attr, ACL_ENGINE_SYS, ACL_COMPILE_SYS, NULL));
    DO(aclopCreateHandle("Mul", 2, described, 1, resulting, attr, &handle));
    for (int i = 0; i < 10; i++) {
        DO(aclopExecWithHandle(handle, 2, given, 1, outputs, stream));
        DO(aclrtMemcpyAsync(dx, sizeof x, dz, sizeof z, ACL_MEMCPY_DEVICE_TO_DEVICE, stream));
    }
    DO(aclrtSynchronizeStream(stream));
    DO(aclrtMemcpy(z, sizeof z, dz, sizeof z, ACL_MEMCPY_DEVICE_TO_HOST));
    for (int i = 0; i < N; i++) CHECK(z[i] == x[i] / 1024);
    DO(aclrtMemcpy(dx, sizeof x, x, sizeof x, ACL_MEMCPY_HOST_TO_DEVICE));
    RETURNS(ACL_ERROR_OP_INPUT_NOT_MATCH, aclopExecWithHandle(handle, 1, given, 1, outputs, stream));
    RETURNS(ACL_ERROR_OP_OUTPUT_NOT_MATCH, aclopExecWithHandle(handle, 2, given, 0, NULL, stream));
    RETURNS(ACL_ERROR_INVALID_PARAM, aclopExecWithHandle(NULL, 2, given, 1, outputs, stream));
    RETURNS(ACL_ERROR_INVALID_PARAM, aclopExecWithHandle(handle, 2, NULL, 1, outputs, stream));
    CHECK(aclopExecWithHandle((aclopHandle *)attr, 2, given, 1, outputs, stream) != 0);
    aclopDestroyHandle(handle);
    CHECK(aclopExecWithHandle(handle, 2, given, 1, outputs, stream) != 0);

    /* Static shapes only: the text names what takes the others. */
    unknown[0] = aclCreateTensorDesc(ACL_FLOAT, 1, dynamic, ACL_FORMAT_ND);
    unknown[1] = unknown[0];
    DO(aclSetTensorShapeRange(unknown[0], 1, range));
    const aclTensorDesc *const *open = (const aclTensorDesc *const *)unknown;
    CHECK(aclopCreateHandle("Mul", 2, open, 1, open, attr, &handle) != 0);
    CHECK(strstr(aclGetRecentErrMsg(), "aclopExecuteV2"));
    DO(aclopCompile("Mul", 2, open, 1, open, attr, ACL_ENGINE_SYS, ACL_COMPILE_SYS, NULL));
    DO(aclopExecuteV2("Mul", 2, descs, inputs, 1, result, outputs, attr, stream));

    /* An attribute, a constant input, and an optional input that is not used. */
    DO(aclopSetAttrBool(attr, "keep_dims", 1));
    descs[1] = aclCreateTensorDesc(ACL_INT64, 1, one, ACL_FORMAT_ND);
    DO(aclSetTensorConst(descs[1], axes, sizeof axes));
    aclTensorDesc *sum[1] = {aclCreateTensorDesc(ACL_FLOAT, 1, one, ACL_FORMAT_ND)};
    const aclTensorDesc *const *summed = (const aclTensorDesc *const *)sum;
    aclDataBuffer *unused = aclCreateDataBuffer(NULL, 0);
    inputs[2] = inputs[1], inputs[1] = unused;
    DO(aclopCompile("ReduceSum", 2, described, 1, summed, attr, ACL_ENGINE_SYS, ACL_COMPILE_SYS, NULL));
    DO(aclopCreateHandle("ReduceSum", 2, described, 1, summed, attr, &handle));
    DO(aclopExecWithHandle(handle, 2, given, 1, outputs, stream));
    DO(aclrtSynchronizeStream(stream));
    DO(aclrtMemcpy(z, sizeof z, dz, sizeof z, ACL_MEMCPY_DEVICE_TO_HOST));
    CHECK(z[0] == N * (N - 1) / 2);
    aclopDestroyHandle(handle);
    aclopDestroyAttr(attr);

    attr = aclopCreateAttr();
    int64_t square[2] = {4, 4};
    aclTensorDesc *matrix = aclCreateTensorDesc(ACL_FLOAT, 2, square, ACL_FORMAT_ND), *products[1] = {matrix};
    aclTensorDesc *none = aclCreateTensorDesc(ACL_DT_UNDEFINED, 0, NULL, ACL_FORMAT_UNDEFINED);
    const aclTensorDesc *factors[3] = {matrix, matrix, none};
    const aclDataBuffer *matrices[3] = {inputs[0], inputs[2], unused};
    DO(aclopCompile("MatMul", 3, factors, 1, (const aclTensorDesc *const *)products, attr, ACL_ENGINE_SYS,
                    ACL_COMPILE_SYS, NULL));
    DO(aclopCreateHandle("MatMul", 3, factors, 1, (const aclTensorDesc *const *)products, attr, &handle));
    DO(aclopExecWithHandle(handle, 3, matrices, 1, outputs, stream));
    DO(aclrtSynchronizeStream(stream));
    DO(aclrtMemcpy(z, sizeof z, dz, sizeof z, ACL_MEMCPY_DEVICE_TO_HOST));
    for (int i = 0; i < N; i++) CHECK(z[i] == half * (16 * (float)(i / 4) + 6));
    aclopDestroyHandle(handle);

    aclopDestroyAttr(attr);
    for (int i = 0; i < 3; i++) DO(aclDestroyDataBuffer(inputs[i]));
    DO(aclDestroyDataBuffer(outputs[0]));
    aclDestroyTensorDesc(descs[0]);
    aclDestroyTensorDesc(descs[1]);
    aclDestroyTensorDesc(result[0]);
    aclDestroyTensorDesc(sum[0]);
    aclDestroyTensorDesc(matrix);
    aclDestroyTensorDesc(none);
    aclDestroyTensorDesc(unknown[0]);
    DO(aclrtFree(dx));
    DO(aclrtFree(dy));
    DO(aclrtFree(dz));
    DO(aclrtDestroyStream(stream));
    DO(aclrtResetDevice(0));
    DO(aclFinalize());
    DONE();
}
