/* An offline model: load, describe, execute, and asynchronously. argv[1]: a model of one input and one output, y = x + 1. */
#include "check.h"

static aclmdlDataset *dataset(void *data, size_t size) {
    aclmdlDataset *made = aclmdlCreateDataset();
    CHECK(made != NULL);
    DO(aclmdlAddDatasetBuffer(made, aclCreateDataBuffer(data, size)));
    return made;
}

static void destroy(aclmdlDataset *old) {
    for (size_t i = 0; i < aclmdlGetDatasetNumBuffers(old); i++) DO(aclDestroyDataBuffer(aclmdlGetDatasetBuffer(old, i)));
    DO(aclmdlDestroyDataset(old));
}

int main(int count, char **arguments) {
    uint32_t model = 0;
    size_t size, elements;
    aclmdlDesc *desc;
    aclmdlIODims dims;
    void *in, *out;
    float *host;
    aclrtStream stream;

    CHECK(count == 2);
    DO(aclInit(NULL));
    DO(aclrtSetDevice(0));
    DO(aclrtCreateStream(&stream));
    CHECK(aclmdlLoadFromFile("/no/such/model.om", &model) != 0);
    DO(aclmdlLoadFromFile(arguments[1], &model));
    desc = aclmdlCreateDesc();
    DO(aclmdlGetDesc(desc, model));
    CHECK(aclmdlGetNumInputs(desc) == 1 && aclmdlGetNumOutputs(desc) == 1);
    CHECK(aclmdlGetInputDataType(desc, 0) == ACL_FLOAT);
    DO(aclmdlGetInputDims(desc, 0, &dims));
    elements = 1;
    for (size_t i = 0; i < dims.dimCount; i++) elements *= (size_t)dims.dims[i];
    size = aclmdlGetInputSizeByIndex(desc, 0);
    CHECK(size == elements * sizeof(float) && aclmdlGetOutputSizeByIndex(desc, 0) == size);

    host = (float *)malloc(size);
    for (size_t i = 0; i < elements; i++) host[i] = (float)i;
    DO(aclrtMalloc(&in, size, ACL_MEM_MALLOC_HUGE_FIRST));
    DO(aclrtMalloc(&out, size, ACL_MEM_MALLOC_HUGE_FIRST));
    DO(aclrtMemcpy(in, size, host, size, ACL_MEMCPY_HOST_TO_DEVICE));
    aclmdlDataset *inputs = dataset(in, size), *outputs = dataset(out, size);

    DO(aclmdlExecute(model, inputs, outputs));
    DO(aclrtMemcpy(host, size, out, size, ACL_MEMCPY_DEVICE_TO_HOST));
    for (size_t i = 0; i < elements; i++) CHECK(host[i] == (float)i + 1);

    DO(aclrtMemcpy(in, size, out, size, ACL_MEMCPY_DEVICE_TO_DEVICE));
    DO(aclmdlExecuteAsync(model, inputs, outputs, stream));
    DO(aclrtSynchronizeStream(stream));
    DO(aclrtMemcpy(host, size, out, size, ACL_MEMCPY_DEVICE_TO_HOST));
    for (size_t i = 0; i < elements; i++) CHECK(host[i] == (float)i + 2);

    destroy(inputs);
    destroy(outputs);
    free(host);
    DO(aclrtFree(in));
    DO(aclrtFree(out));
    DO(aclmdlDestroyDesc(desc));
    DO(aclmdlUnload(model));
    CHECK(aclmdlUnload(model) != 0);
    DO(aclrtDestroyStream(stream));
    DO(aclrtResetDevice(0));
    DO(aclFinalize());
    DONE();
}
