/* Context. */

typedef void * aclrtContext;

aclError aclrtCreateContext(aclrtContext *context, int32_t deviceId);
aclError aclrtCtxGetFloatOverflowAddr(void **overflowAddr);
aclError aclrtCtxGetSysParamOpt(aclSysParamOpt opt, int64_t *value);
aclError aclrtCtxSetSysParamOpt(aclSysParamOpt opt, int64_t value);
aclError aclrtDestroyContext(aclrtContext context);
aclError aclrtGetCurrentContext(aclrtContext *context);
aclError aclrtGetPrimaryCtxState(int32_t deviceId, uint32_t *flags, int32_t *active);
aclError aclrtSetCurrentContext(aclrtContext context);
