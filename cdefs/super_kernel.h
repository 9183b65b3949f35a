/* Super kernel. */

typedef struct aclskAggressiveOptStrategies {
    uint32_t eventBreakerBypass;
    uint32_t valueBreakerBypass;
    uint32_t taskBreakerBypass;
} aclskAggressiveOptStrategies;

typedef struct aclskAutoOpParallelOption {
    uint32_t enableAutoOpParallel;
} aclskAutoOpParallelOption;

typedef struct aclskConstantCodegenOption {
    uint32_t enableConstant;
} aclskConstantCodegenOption;

typedef struct aclskDcciOption {
    char **kernelNames;
    size_t kernelCnt;
} aclskDcciOption;

typedef struct aclskDebugCrossCoreSyncCheckOption {
    uint32_t enableCrossCoreSyncCheck;
} aclskDebugCrossCoreSyncCheckOption;

typedef struct aclskDebugOpExecTraceOption {
    uint32_t enableOpExecTrace;
} aclskDebugOpExecTraceOption;

typedef struct aclskDebugPerOpMaxCoreNumOption {
    uint32_t enableDebugPerOpMaxCoreNum;
} aclskDebugPerOpMaxCoreNumOption;

typedef struct aclskDebugSyncAllOption {
    uint32_t debugSyncAll;
} aclskDebugSyncAllOption;

typedef struct aclskEarlyStartOption {
    uint32_t enableEarlyStart;
} aclskEarlyStartOption;

typedef enum aclskEarlyStartValue {
    ACLSK_EARLY_START_DISABLED = 0, ACLSK_EARLY_START_ENABLED = 1
} aclskEarlyStartValue;

typedef struct aclskExtendOption {
    char *value;
} aclskExtendOption;

typedef struct aclskKernelMap {
    char *globalName;
    char *sknlNames[4];
} aclskKernelMap;

typedef struct aclskKernelMapOption {
    aclskKernelMap *kernelMaps;
    size_t numKernels;
} aclskKernelMapOption;

typedef enum aclskOptionType {
    aclskOptionType_PRELOAD_CODE = 0, aclskOptionType_SPLIT_MODE = 1, aclskOptionType_STREAM_FUSION = 2,
    aclskOptionType_DCCI_DISABLE_ON_KERNEL = 3, aclskOptionType_DEBUG_SYNC_ALL = 4, aclskOptionType_KERNEL_MAP = 5,
    aclskOptionType_CONSTANT_CODEGEN = 6, aclskOptionType_AUTO_OP_PARALLEL = 7,
    aclskOptionType_DCCI_BEFORE_KERNEL_START = 8, aclskOptionType_DEBUG_OP_EXEC_TRACE = 9,
    aclskOptionType_DEBUG_CROSS_CORE_SYNC_CHECK = 10, aclskOptionType_OPT_EXTEND_OPTION = 11,
    aclskOptionType_DEBUG_EXTEND_OPTION = 12, aclskOptionType_DCCI_AFTER_KERNEL_END = 13,
    aclskOptionType_AGGRESSIVE_OPT_STRATEGIES = 14, aclskOptionType_UBUF_LOCK_IGNORE_KERNEL = 15,
    aclskOptionType_EARLY_START = 16, aclskOptionType_DEBUG_PER_OP_MAX_CORE_NUM = 17,
    aclskOptionType_SK_OPTION_MAX = 18
} aclskOptionType;

typedef struct aclskPreloadOption {
    uint32_t preloadMode;
} aclskPreloadOption;

typedef struct aclskSplitModeOption {
    uint32_t splitCnt;
} aclskSplitModeOption;

typedef struct aclskStreamFusionOption {
    uint32_t streamFusion;
} aclskStreamFusionOption;

typedef struct aclskUbufLockIgnoreKernelOption {
    uint32_t ubufLockIgnoreKernelCnt;
    char **ubufLockIgnoreKernel;
} aclskUbufLockIgnoreKernelOption;

typedef struct aclskOption {
    aclskOptionType optionType;
    union {
        aclskPreloadOption preload;
        aclskSplitModeOption splitMode;
        aclskStreamFusionOption streamFusion;
        aclskDcciOption disableKernelDcci;
        aclskDebugSyncAllOption debugSync;
        aclskKernelMapOption kernelMap;
        aclskConstantCodegenOption constantCodegen;
        aclskAutoOpParallelOption autoOpParallel;
        aclskDcciOption dcciBeforeKernelStart;
        aclskDebugOpExecTraceOption debugOpExecTrace;
        aclskDebugCrossCoreSyncCheckOption debugCrossCoreSyncCheck;
        aclskExtendOption optExtend;
        aclskExtendOption debugExtend;
        aclskDcciOption dcciAfterKernelEnd;
        aclskAggressiveOptStrategies aggressiveOpts;
        aclskUbufLockIgnoreKernelOption ubufLockIgnoreKernel;
        aclskEarlyStartOption earlyStart;
        aclskDebugPerOpMaxCoreNumOption debugPerOpMaxCoreNum;
    };
} aclskOption;

typedef struct aclskOptions {
    aclskOption *options;
    size_t numOptions;
} aclskOptions;

typedef enum aclskValueBreakerBypassFlag {
    ACLSK_VALUE_BREAKER_BYPASS_NONE = 0, ACLSK_VALUE_BREAKER_BYPASS_PAIRED_WAIT = 1,
    ACLSK_VALUE_BREAKER_BYPASS_UNPAIRED_WAIT = 2
} aclskValueBreakerBypassFlag;

aclError aclskOptimize(aclmdlRI model, aclskOptions *options);
aclError aclskScopeBegin(const char *scopeName, aclrtStream stream);
aclError aclskScopeEnd(const char *scopeName, aclrtStream stream);
