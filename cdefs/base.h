/* What every other file needs: initialisation, versions, error text, data types and formats. */

#define ACL_CONTINUE_ON_FAILURE 0
#define ACL_DEVICE_FORM_FACTOR_A_K 1
#define ACL_DEVICE_FORM_FACTOR_A_X 2
#define ACL_DEVICE_FORM_FACTOR_PCIE_CARD 3
#define ACL_DEVICE_FORM_FACTOR_POD 0
#define ACL_DEV_FEATURE_NOT_SUPPORT 0
#define ACL_DEV_FEATURE_SUPPORT 1
#define ACL_DIM_ENDPOINTS 2
#define ACL_INVALID_NODE_INDEX 4294967295
#define ACL_IPC_EVENT_HANDLE_SIZE 64
#define ACL_MAJOR_VERSION 1
#define ACL_MAX_BATCH_NUM 128
#define ACL_MAX_DIM_CNT 128
#define ACL_MAX_HW_NUM 128
#define ACL_MAX_SHAPE_COUNT 128
#define ACL_MAX_TENSOR_NAME_LEN 128
#define ACL_MINOR_VERSION 17
#define ACL_MODEL_STREAM_FLAG_DEFAULT 2147483647
#define ACL_MODEL_STREAM_FLAG_HEAD 0
#define ACL_PATCH_VERSION 0
#define ACL_PKG_VERSION_MAX_SIZE 128
#define ACL_PKG_VERSION_PARTS_MAX_SIZE 64
#define ACL_RT_CMO_MAX_BARRIER_NUM 6
#define ACL_RT_DEVS_TOPOLOGY_HCCS 1
#define ACL_RT_DEVS_TOPOLOGY_HCCS_SW 64
#define ACL_RT_DEVS_TOPOLOGY_PHB 8
#define ACL_RT_DEVS_TOPOLOGY_PIB 4
#define ACL_RT_DEVS_TOPOLOGY_PIX 2
#define ACL_RT_DEVS_TOPOLOGY_SIO 32
#define ACL_RT_DEVS_TOPOLOGY_SYS 16
#define ACL_RT_MAX_RECORD_PA_NUM_PER_DEV 20
#define ACL_RT_NOTIFY_EXPORT_FLAG_DEFAULT 0
#define ACL_RT_NOTIFY_EXPORT_FLAG_DISABLE_PID_VALIDATION 2
#define ACL_RT_NOTIFY_IMPORT_FLAG_DEFAULT 0
#define ACL_RT_NOTIFY_IMPORT_FLAG_ENABLE_PEER_ACCESS 2
#define ACL_RT_SUCCESS 0
#define ACL_RT_VMM_EXPORT_FLAG_DEFAULT 0
#define ACL_RT_VMM_EXPORT_FLAG_DISABLE_PID_VALIDATION 1
#define ACL_STOP_ON_FAILURE 1
#define ACL_TENSOR_SHAPE_RANGE_NUM 2
#define ACL_TENSOR_VALUE_RANGE_NUM 2
#define ACL_UNKNOWN_RANK 18446744073709551614UL
#define ACL_WORKSPACE_MEM_OPTIMIZE_DEFAULT 0
#define ACL_WORKSPACE_MEM_OPTIMIZE_INPUTOUTPUT 1
#define MAX_MEM_UCE_INFO_ARRAY_SIZE 128
#define OK 0
#define UCE_INFO_RESERVED_SIZE 14

typedef enum aclrtMemAttr {
    ACL_DDR_MEM = 0, ACL_HBM_MEM = 1, ACL_DDR_MEM_HUGE = 2, ACL_DDR_MEM_NORMAL = 3, ACL_HBM_MEM_HUGE = 4,
    ACL_HBM_MEM_NORMAL = 5, ACL_DDR_MEM_P2P_HUGE = 6, ACL_DDR_MEM_P2P_NORMAL = 7, ACL_HBM_MEM_P2P_HUGE = 8,
    ACL_HBM_MEM_P2P_NORMAL = 9, ACL_HBM_MEM_HUGE1G = 10, ACL_HBM_MEM_P2P_HUGE1G = 11, ACL_MEM_NORMAL = 12,
    ACL_MEM_HUGE = 13, ACL_MEM_HUGE1G = 14, ACL_MEM_P2P_NORMAL = 15, ACL_MEM_P2P_HUGE = 16, ACL_MEM_P2P_HUGE1G = 17
} aclrtMemAttr;

typedef struct MemAttrMapping {
    uint32_t pgType;
    uint32_t memType;
    bool isHostAlloc;
    aclrtMemAttr memAttr;
} MemAttrMapping;

typedef enum aclCANNPackageName {
    ACL_PKG_NAME_CANN = 0, ACL_PKG_NAME_RUNTIME = 1, ACL_PKG_NAME_COMPILER = 2, ACL_PKG_NAME_HCCL = 3,
    ACL_PKG_NAME_TOOLKIT = 4, ACL_PKG_NAME_OPP = 5, ACL_PKG_NAME_OPP_KERNEL = 6, ACL_PKG_NAME_DRIVER = 7
} aclCANNPackageName;

typedef struct aclCANNPackageVersion {
    char version[128];
    char majorVersion[64];
    char minorVersion[64];
    char releaseVersion[64];
    char patchVersion[64];
    char reserved[128];
} aclCANNPackageVersion;

typedef enum aclCannAttr {
    ACL_CANN_ATTR_UNDEFINED = -1, ACL_CANN_ATTR_INF_NAN = 0, ACL_CANN_ATTR_BF16 = 1, ACL_CANN_ATTR_JIT_COMPILE = 2
} aclCannAttr;

typedef enum aclCompileOpt {
    ACL_PRECISION_MODE = 0, ACL_AICORE_NUM = 1, ACL_AUTO_TUNE_MODE = 2, ACL_OP_SELECT_IMPL_MODE = 3,
    ACL_OPTYPELIST_FOR_IMPLMODE = 4, ACL_OP_DEBUG_LEVEL = 5, ACL_DEBUG_DIR = 6, ACL_OP_COMPILER_CACHE_MODE = 7,
    ACL_OP_COMPILER_CACHE_DIR = 8, ACL_OP_PERFORMANCE_MODE = 9, ACL_OP_JIT_COMPILE = 10, ACL_OP_DETERMINISTIC = 11,
    ACL_CUSTOMIZE_DTYPES = 12, ACL_OP_PRECISION_MODE = 13, ACL_ALLOW_HF32 = 14, ACL_PRECISION_MODE_V2 = 15,
    ACL_OP_DEBUG_OPTION = 16
} aclCompileOpt;

typedef enum aclDataType {
    ACL_DT_UNDEFINED = -1, ACL_FLOAT = 0, ACL_FLOAT16 = 1, ACL_INT8 = 2, ACL_INT32 = 3, ACL_UINT8 = 4,
    ACL_INT16 = 6, ACL_UINT16 = 7, ACL_UINT32 = 8, ACL_INT64 = 9, ACL_UINT64 = 10, ACL_DOUBLE = 11, ACL_BOOL = 12,
    ACL_STRING = 13, ACL_COMPLEX64 = 16, ACL_COMPLEX128 = 17, ACL_BF16 = 27, ACL_INT4 = 29, ACL_UINT1 = 30,
    ACL_COMPLEX32 = 33, ACL_HIFLOAT8 = 34, ACL_FLOAT8_E5M2 = 35, ACL_FLOAT8_E4M3FN = 36, ACL_FLOAT8_E8M0 = 37,
    ACL_FLOAT6_E3M2 = 38, ACL_FLOAT6_E2M3 = 39, ACL_FLOAT4_E2M1 = 40, ACL_FLOAT4_E1M2 = 41
} aclDataType;

typedef enum aclDeviceInfo {
    ACL_DEVICE_INFO_UNDEFINED = -1, ACL_DEVICE_INFO_AI_CORE_NUM = 0, ACL_DEVICE_INFO_VECTOR_CORE_NUM = 1,
    ACL_DEVICE_INFO_L2_SIZE = 2
} aclDeviceInfo;

typedef int aclError;

typedef aclError (*aclFinalizeCallbackFunc)(void *userData);

typedef uint16_t aclFloat16;

typedef enum aclFormat {
    ACL_FORMAT_UNDEFINED = -1, ACL_FORMAT_NCHW = 0, ACL_FORMAT_NHWC = 1, ACL_FORMAT_ND = 2, ACL_FORMAT_NC1HWC0 = 3,
    ACL_FORMAT_FRACTAL_Z = 4, ACL_FORMAT_NC1HWC0_C04 = 12, ACL_FORMAT_HWCN = 16, ACL_FORMAT_NDHWC = 27,
    ACL_FORMAT_FRACTAL_NZ = 29, ACL_FORMAT_NCDHW = 30, ACL_FORMAT_NDC1HWC0 = 32, ACL_FRACTAL_Z_3D = 33,
    ACL_FORMAT_NC = 35, ACL_FORMAT_NCL = 47, ACL_FORMAT_FRACTAL_NZ_C0_16 = 50, ACL_FORMAT_FRACTAL_NZ_C0_32 = 51,
    ACL_FORMAT_FRACTAL_NZ_C0_2 = 52, ACL_FORMAT_FRACTAL_NZ_C0_4 = 53, ACL_FORMAT_FRACTAL_NZ_C0_8 = 54
} aclFormat;

typedef aclError (*aclInitCallbackFunc)(const char *configStr, size_t len, void *userData);

typedef enum aclLogLevel {
    ACL_DEBUG = 0, ACL_INFO = 1, ACL_WARNING = 2, ACL_ERROR = 3
} aclLogLevel;

typedef enum aclMemType {
    ACL_MEMTYPE_DEVICE = 0, ACL_MEMTYPE_HOST = 1, ACL_MEMTYPE_HOST_COMPILE_INDEPENDENT = 2
} aclMemType;

typedef enum aclCompileFlag {
    ACL_OP_COMPILE_DEFAULT = 0, ACL_OP_COMPILE_FUZZ = 1
} aclOpCompileFlag;

typedef enum aclRegisterCallbackType {
    ACL_REG_TYPE_ACL_MODEL = 0, ACL_REG_TYPE_ACL_OP_EXECUTOR = 1, ACL_REG_TYPE_ACL_OP_CBLAS = 2,
    ACL_REG_TYPE_ACL_OP_COMPILER = 3, ACL_REG_TYPE_ACL_TDT_CHANNEL = 4, ACL_REG_TYPE_ACL_TDT_QUEUE = 5,
    ACL_REG_TYPE_ACL_DVPP = 6, ACL_REG_TYPE_ACL_RETR = 7, ACL_REG_TYPE_OTHER = 65535
} aclRegisterCallbackType;

typedef enum aclSysParamOpt {
    ACL_OPT_DETERMINISTIC = 0, ACL_OPT_ENABLE_DEBUG_KERNEL = 1, ACL_OPT_STRONG_CONSISTENCY = 2,
    ACL_OPT_ENABLE_KERNEL_EARLY_START = 3
} aclSysParamOpt;

typedef int32_t aclnnStatus;

typedef struct dim3 {
    uint32_t x;
    uint32_t y;
    uint32_t z;
} dim3;

void aclAppLog(aclLogLevel logLevel, const char *func, const char *file, uint32_t line, const char *fmt, ...);
size_t aclDataTypeSize(aclDataType dataType);
aclError aclFinalize(void);
aclError aclFinalizeCallbackRegister(aclRegisterCallbackType type, aclFinalizeCallbackFunc cbFunc, void *userData);
aclError aclFinalizeCallbackUnRegister(aclRegisterCallbackType type, aclFinalizeCallbackFunc cbFunc);
aclError aclFinalizeReference(uint64_t *refCount);
float aclFloat16ToFloat(aclFloat16 value);
aclFloat16 aclFloatToFloat16(float value);
aclError aclGetCannAttribute(aclCannAttr cannAttr, int32_t *value);
aclError aclGetCannAttributeList(const aclCannAttr **cannAttrList, size_t *num);
aclError aclGetDeviceCapability(uint32_t deviceId, aclDeviceInfo deviceInfo, int64_t *value);
const char *aclGetRecentErrMsg(void);
aclError aclInit(const char *configPath);
aclError aclInitCallbackRegister(aclRegisterCallbackType type, aclInitCallbackFunc cbFunc, void *userData);
aclError aclInitCallbackUnRegister(aclRegisterCallbackType type, aclInitCallbackFunc cbFunc);
aclError aclRecoverAllHcclTasks(int32_t deviceId);
aclError aclsysGetCANNVersion(aclCANNPackageName name, aclCANNPackageVersion *version);
aclError aclsysGetVersionNum(char *pkgName, int32_t *versionNum);
aclError aclsysGetVersionStr(char *pkgName, char *versionStr);
