/* Platform. */

typedef enum aclplatformCoreType {
    ACL_PLATFORM_CORE_TYPE_AI_CORE = 0, ACL_PLATFORM_CORE_TYPE_VECTOR_CORE = 1
} aclplatformCoreType;

typedef enum aclplatformDevInfo {
    ACL_PLATFORM_AICORE_CNT = 0, ACL_PLATFORM_AICORE_UB_SIZE = 1, ACL_PLATFORM_CUBE_CORE_CNT = 2,
    ACL_PLATFORM_VECTOR_CORE_CNT = 3, ACL_PLATFORM_L2_SIZE = 4, ACL_PLATFORM_MEMORY_SIZE = 5,
    ACL_PLATFORM_CUBE_FREQ = 6, ACL_PLATFORM_VEC_FREQ = 7, ACL_PLATFORM_BT_SIZE = 8, ACL_PLATFORM_L0_A_SIZE = 9,
    ACL_PLATFORM_L0_B_SIZE = 10, ACL_PLATFORM_L0_C_SIZE = 11, ACL_PLATFORM_L1_SIZE = 12,
    ACL_PLATFORM_SHORT_SOC_VERSION = 13, ACL_PLATFORM_SOC_VERSION = 14, ACL_PLATFORM_AIC_VERSION = 15,
    ACL_PLATFORM_NPU_ARCH = 16, ACL_PLATFORM_MEMORY_TYPE = 17
} aclplatformDevInfo;

typedef enum aclplatformLocalMemType {
    aclplatformLocalMemType_L0_A = 0, aclplatformLocalMemType_L0_B = 1, aclplatformLocalMemType_L0_C = 2,
    aclplatformLocalMemType_L1 = 3, aclplatformLocalMemType_L2 = 4, aclplatformLocalMemType_UB = 5,
    aclplatformLocalMemType_HBM = 6
} aclplatformLocalMemType;

typedef enum aclplatformNpuArch {
    aclplatformNpuArch_DAV_1001 = 1001, aclplatformNpuArch_DAV_1002 = 1002, aclplatformNpuArch_DAV_1003 = 1003,
    aclplatformNpuArch_DAV_1004 = 1004, aclplatformNpuArch_DAV_1999 = 1999, aclplatformNpuArch_DAV_2002 = 2002,
    aclplatformNpuArch_DAV_2003 = 2003, aclplatformNpuArch_DAV_2004 = 2004, aclplatformNpuArch_DAV_2006 = 2006,
    aclplatformNpuArch_DAV_2102 = 2102, aclplatformNpuArch_DAV_2103 = 2103, aclplatformNpuArch_DAV_2104 = 2104,
    aclplatformNpuArch_DAV_2201 = 2201, aclplatformNpuArch_DAV_3002 = 3002, aclplatformNpuArch_DAV_3003 = 3003,
    aclplatformNpuArch_DAV_3004 = 3004, aclplatformNpuArch_DAV_3102 = 3102, aclplatformNpuArch_DAV_3103 = 3103,
    aclplatformNpuArch_DAV_3113 = 3113, aclplatformNpuArch_DAV_3502 = 3502, aclplatformNpuArch_DAV_3505 = 3505,
    aclplatformNpuArch_DAV_3510 = 3510, aclplatformNpuArch_DAV_3801 = 3801, aclplatformNpuArch_DAV_5101 = 5101,
    aclplatformNpuArch_DAV_5102 = 5102, aclplatformNpuArch_DAV_5161 = 5161, aclplatformNpuArch_DAV_9201 = 9201,
    aclplatformNpuArch_DAV_9202 = 9202, aclplatformNpuArch_DAV_9301 = 9301, aclplatformNpuArch_DAV_RESV = 65535,
    aclplatformNpuArch_DAV_5162 = 5162
} aclplatformNpuArch;

aclError aclplatformGetDeviceInfo(aclplatformDevInfo infoType, char *value, uint32_t maxLen);
aclError aclplatformGetInstructionInfo(aclplatformCoreType type, const char *instruction, char *value, uint32_t maxLen);
