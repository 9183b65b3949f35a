/* Label. */

typedef void * aclrtLabel;

typedef void * aclrtLabelList;

aclError aclrtCreateLabel(aclrtLabel *label);
aclError aclrtCreateLabelList(aclrtLabel *labels, size_t num, aclrtLabelList *labelList);
aclError aclrtDestroyLabel(aclrtLabel label);
aclError aclrtDestroyLabelList(aclrtLabelList labelList);
aclError aclrtSetLabel(aclrtLabel label, aclrtStream stream);
aclError aclrtSwitchLabelByIndex(void *ptr, uint32_t maxValue, aclrtLabelList labelList, aclrtStream stream);
