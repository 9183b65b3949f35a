/* aclnn: two phases, a repeatable executor whose addresses change, misuse. */
#include "check.h"

enum { N = 8 };

static aclTensor *tensor(void *data) {
    int64_t shape[1] = {N};
    aclTensor *made = aclCreateTensor(shape, 1, ACL_FLOAT, NULL, 0, ACL_FORMAT_ND, shape, 1, data);
    CHECK(made != NULL);
    return made;
}

static void *upload(const float *values) {
    void *data;
    DO(aclrtMalloc(&data, N * sizeof(float), ACL_MEM_MALLOC_HUGE_FIRST));
    DO(aclrtMemcpy(data, N * sizeof(float), values, N * sizeof(float), ACL_MEMCPY_HOST_TO_DEVICE));
    return data;
}

int main(void) {
    float x[N], y[N], z[N], two = 2;
    void *device_x, *device_y, *device_z, *workspace = NULL;
    uint64_t size = 0, dims = 0;
    int64_t *shape = NULL;
    aclOpExecutor *executor;
    aclrtStream stream;

    DO(aclInit(NULL));
    DO(aclrtSetDevice(0));
    DO(aclrtCreateStream(&stream));
    for (int i = 0; i < N; i++) x[i] = (float)i, y[i] = 10;
    device_x = upload(x);
    device_y = upload(y);
    device_z = upload(y);
    aclTensor *tx = tensor(device_x), *ty = tensor(device_y), *tz = tensor(device_z);
    aclScalar *alpha = aclCreateScalar(&two, ACL_FLOAT);

    DO(aclGetViewShape(tx, &shape, &dims));
    CHECK(dims == 1 && shape[0] == N);
    free(shape);

    DO(aclnnAddGetWorkspaceSize(tx, ty, alpha, tz, &size, &executor));
    if (size) DO(aclrtMalloc(&workspace, size, ACL_MEM_MALLOC_HUGE_FIRST));
    DO(aclSetAclOpExecutorRepeatable(executor));
    DO(aclnnAdd(workspace, size, executor, stream));
    DO(aclrtSynchronizeStream(stream));
    DO(aclrtMemcpy(z, sizeof z, device_z, sizeof z, ACL_MEMCPY_DEVICE_TO_HOST));
    for (int i = 0; i < N; i++) CHECK(z[i] == x[i] + 2 * y[i]);

    DO(aclSetInputTensorAddr(executor, 0, tx, device_y)); /* y + 2 y */
    DO(aclnnAdd(workspace, size, executor, stream));
    DO(aclrtSynchronizeStream(stream));
    DO(aclrtMemcpy(z, sizeof z, device_z, sizeof z, ACL_MEMCPY_DEVICE_TO_HOST));
    for (int i = 0; i < N; i++) CHECK(z[i] == 30);
    RETURNS(161002, aclSetInputTensorAddr(executor, 2, tx, device_y)); /* there are two */
    DO(aclDestroyAclOpExecutor(executor));

    RETURNS(161001, aclnnAddGetWorkspaceSize(NULL, ty, alpha, tz, &size, &executor));
    RETURNS(161001, aclnnAdd(NULL, 0, NULL, stream));

    DO(aclDestroyTensor(tx));
    DO(aclDestroyTensor(ty));
    DO(aclDestroyTensor(tz));
    DO(aclDestroyScalar(alpha));
    if (workspace) DO(aclrtFree(workspace));
    DO(aclrtFree(device_x));
    DO(aclrtFree(device_y));
    DO(aclrtFree(device_z));
    DO(aclrtDestroyStream(stream));
    DO(aclrtResetDevice(0));
    DO(aclFinalize());
    DONE();
}
