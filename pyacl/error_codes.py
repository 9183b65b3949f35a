"""What each status code means and what to do about it; read when the first error is made, not at import.

One line a code: its name (the value is the constant of that name in `lib`), what went wrong, what to do. The heading
is the exception's class. A line without a remedy has the heading's, which is in brackets.
"""
# ruff: noqa: E501

from __future__ import annotations

TABLE = """
[InvalidArgumentError: compare the arguments with the function's documentation]
ACL_ERROR_INVALID_PARAM | an argument was refused | look for a null pointer, a zero size, an unknown enum value or a wrong value size
ACL_ERROR_RT_PARAM_INVALID | the runtime refused an argument | look for a size beyond its buffer, a negative timeout or an object that was destroyed
ACL_ERROR_GE_PARAM_INVALID | the graph engine refused an argument | check the model's inputs, options and paths
ACLNN_ERR_PARAM_NULLPTR | a required pointer is NULL | give every argument that the operator does not call optional, and a workspace when one is asked for
ACLNN_ERR_PARAM_INVALID | the operator refused an argument | check dtypes, shapes, formats and attribute values against the operator's page, and indexes against its prototype
ACL_ERROR_RT_INVALID_DEVICEID | there is no device with this id | use an id below pyacl.device_count(); ASCEND_RT_VISIBLE_DEVICES renumbers devices
ACL_ERROR_INVALID_DEVICE | there is no device with this id | use an id below pyacl.device_count(); ASCEND_RT_VISIBLE_DEVICES renumbers devices
ACL_ERROR_RT_ADDR_UNALIGNED | a device address is not aligned | start at a 64-byte boundary: take whole allocations, or views whose byte offset is a multiple of 64
ACL_ERROR_MEMORY_ADDRESS_UNALIGNED | an address is not aligned as this function needs it | start at a 64-byte boundary
ACL_ERROR_RT_INVALID_MEMORY_TYPE | the memory is of the wrong kind | check which side (host or device) each pointer belongs to
ACL_ERROR_RT_INVALID_MALLOC_TYPE | this way of allocating is not available here | choose another allocation policy
ACL_ERROR_RT_INVALID_HANDLE | the handle is unknown or its object was destroyed | keep the object open for as long as it is used
ACL_ERROR_INVALID_RESOURCE_HANDLE | the resource was destroyed or is still busy | keep it open while it is used, and synchronise before destroying it
ACL_ERROR_RESOURCE_NOT_MATCH | the resource belongs to another owner | use the stream, context or model together with what was made with it
ACL_ERROR_UNSUPPORTED_DATA_TYPE | the data type is not supported here | convert to a data type that the function lists
ACL_ERROR_FORMAT_NOT_MATCH | the tensor format does not match | give the format that the operator or model was built for
ACL_ERROR_INVALID_QUEUE_ID | there is no queue with this id | use the id that the queue's creation gave
ACL_ERROR_RT_INSUFFICIENT_INPUT_ARRAY | the array given is too small for the answer | ask for the count first and give an array of that size
ACL_ERROR_RT_INVALID_DIEID | there is no die with this id | use a die id of this product
ACL_ERROR_RT_EVENT_TIMESTAMP_INVALID | an event has no valid time | record both timing events and synchronise before asking for the time between them
ACL_ERROR_RT_EVENT_TIMESTAMP_REVERSAL | the end event is older than the start event | swap the two events, or record them in that order on one stream
ACL_ERROR_HOST_MEMORY_ALREADY_REGISTERED | this host memory is registered already | register a range once, and unregister it before registering it again
ACL_ERROR_HOST_MEMORY_NOT_REGISTERED | this host memory is not registered | register it first; unregister the address that was registered
ACL_ERROR_OP_TYPE_NOT_MATCH | the operator's type is not the expected one | check the operator's name
ACL_ERROR_OP_INPUT_NOT_MATCH | the inputs are not those that the operator was prepared with | give as many inputs, of the same descriptions, as when the handle was made
ACL_ERROR_OP_OUTPUT_NOT_MATCH | the outputs are not those that the operator was prepared with | give as many outputs, of the same descriptions, as when the handle was made
ACL_ERROR_OP_ATTR_NOT_MATCH | the attributes are not those that the operator was prepared with | give the attributes that the operator's model has
ACL_ERROR_INVALID_DUMP_CONFIG | the dump configuration is not valid | check the "dump" section of the configuration file
ACL_ERROR_INVALID_PROFILING_CONFIG | the profiling configuration is not valid | check the "profiler" section of the configuration file
ACL_ERROR_INVALID_MAX_OPQUEUE_NUM_CONFIG | max_opqueue_num is not valid | give a positive number as a string in the configuration file
ACL_ERROR_GE_FORMAT_INVALID | the graph engine does not accept this format | check the tensor formats
ACL_ERROR_GE_SHAPE_INVALID | the graph engine does not accept this shape | check the tensor shapes
ACL_ERROR_GE_DATATYPE_INVALID | the graph engine does not accept this data type | check the data types
ACL_ERROR_GE_OP_TASK_TYPE_INVALID | the model has a task of an unknown type | convert the model again with the ATC of this CANN release
ACL_ERROR_GE_OP_KERNEL_TYPE_INVALID | the model has a kernel of an unknown type | convert the model again with the ATC of this CANN release
ACL_ERROR_GE_DATA_NOT_ALIGNED | the data is not aligned | align the data as the flow function needs it
ACL_ERROR_RT_INVALID_SYMBOL | the device variable's symbol is not valid | check that the binary that defines it is loaded
ACL_ERROR_RT_INVALID_DEVICE_FUNCTION | the kernel's symbol is not valid | check the kernel's name and that its binary is loaded
ACL_ERROR_RT_MODEL_UPDATE_FAILED | the captured graph could not be updated | wait until it is not running, and check the parameters of the update
ACL_ERROR_GE_DYNAMIC_INPUT_ADDR_INVALID | the address of the dynamic-profile input is not valid | take the buffer of the input named ascend_mbatch_shape_data
ACL_ERROR_GE_DYNAMIC_INPUT_LENGTH_INVALID | the size of the dynamic-profile input is not valid | take the size that the model states for the input ascend_mbatch_shape_data
ACL_ERROR_GE_DYNAMIC_BATCH_SIZE_INVALID | the model was not built for this batch size | choose one of the batch sizes that the model was converted with
ACL_ERROR_GE_AIPP_BATCH_EMPTY | the AIPP batch is not valid | set the AIPP batch size to the model's batch
ACL_ERROR_GE_AIPP_MODE_INVALID | the AIPP mode is not valid | check whether the model was converted with static or dynamic AIPP
ACL_ERROR_GE_EXEC_MODEL_QUEUE_ID_INVALID | the model's queue id is not valid | give queues that exist
ACL_ERROR_GE_EXEC_MODEL_ADDR_INVALID | the model's memory address is not valid | give memory of the size that the model query stated
ACL_ERROR_GE_EXEC_MODEL_DATA_SIZE_INVALID | the model's size is not valid | give the whole file's content
ACL_ERROR_MODEL_SIZE_INVALID | the model's size is wrong | the file is cut short or damaged: copy or convert it again

[NotInitializedError: call pyacl.init() or make a pyacl.Device first]
ACL_ERROR_UNINITIALIZE | this needs an initialisation that did not happen | make a pyacl.Device first; a feature with its own init needs that one
ACL_ERROR_PROF_NOT_RUN | profiling is not initialised | call aclprofInit first
ACL_ERROR_DUMP_NOT_RUN | dump is not initialised | call aclmdlInitDump first
ACL_ERROR_GE_EXEC_NOT_INIT | the graph engine is not initialised | make a pyacl.Device before loading models

[StateError: check the order of the calls]
ACL_ERROR_REPEAT_INITIALIZE | this was initialised or loaded before | initialise once; a second aclInit can be ignored
ACL_ERROR_REPEAT_FINALIZE | this was finalised before | finalise once for each initialisation
ACL_ERROR_REPEAT_SUBSCRIBE | the stream has a callback thread already | subscribe each stream once
ACL_ERROR_STREAM_NOT_SUBSCRIBE | the stream has no callback thread | subscribe a thread for the stream before queueing callbacks
ACL_ERROR_THREAD_NOT_SUBSCRIBE | this thread is not subscribed for any stream | subscribe this thread before it processes reports
ACL_ERROR_RT_STREAM_SUBSCRIBE | the stream has a callback thread already, or none | subscribe each stream once, and before it is used for callbacks
ACL_ERROR_RT_THREAD_SUBSCRIBE | this thread is not subscribed, or is subscribed twice | subscribe each callback thread once
ACL_ERROR_RT_STREAM_NO_CB_REG | the stream has no callback thread | use Stream.call, or subscribe a thread before aclrtLaunchCallback
ACL_ERROR_GROUP_NOT_SET | no group is set | call aclrtSetGroup first
ACL_ERROR_GROUP_NOT_CREATE | there is no such group | use a group id that aclrtGetAllGroupInfo lists
ACL_ERROR_RT_GROUP_NOT_SET | no group is set | call aclrtSetGroup first
ACL_ERROR_RT_GROUP_NOT_CREATE | there is no such group | use a group id that aclrtGetAllGroupInfo lists
ACL_ERROR_PROF_ALREADY_RUN | profiling runs already | use one way of profiling at a time
ACL_ERROR_DUMP_ALREADY_RUN | dump is configured already | configure dump in one place: the configuration file or aclmdlInitDump
ACL_ERROR_PROF_REPEAT_SUBSCRIBE | the model is subscribed for profiling already | subscribe a model once
ACL_ERROR_PROF_API_CONFLICT | two ways of profiling are mixed | end one way of profiling before starting the other
ACL_ERROR_RELATIVE_RESOURCE_NOT_CLEARED | something that depends on this is still alive | destroy the channel before its description
ACL_ERROR_BIN_SELECTOR_ALREADY_REGISTERED | the kernel selector is registered already | unregister it before registering it again
ACL_ERROR_KERNEL_ALREADY_REGISTERED | the kernel is registered already | register each kernel once
ACL_ERROR_BIN_SELECTOR_NOT_REGISTERED | no kernel selector is registered | call aclopRegisterCompileFunc first
ACL_ERROR_RT_SYSPARAMOPT_NOT_SET | the option was never set in this context | set it before reading it
ACL_ERROR_RT_STREAM_MODEL | the stream is not bound to this model instance | bind the stream before using it with the instance
ACL_ERROR_RT_REPEATED_INIT | the queue module is initialised already | initialise it once
ACL_ERROR_RT_MODEL_RUNNING | the model instance is running | wait for it before changing or destroying it
ACL_ERROR_RT_STREAM_NOT_COMPLETE | the stream is still busy | synchronise it first
ACL_ERROR_RT_EVENT_NOT_COMPLETE | the event is still pending | synchronise it first
ACL_ERROR_RT_STREAM_TASK_EMPTY | the stream has no task | queue work before asking for its result
ACL_ERROR_GE_EXEC_LOAD_MODEL_REPEATED | the model is loaded already | unload it before loading it again
ACL_ERROR_RT_LABEL_CONTEXT | the label is not of the current context | use labels in the context in which they were made
ACL_ERROR_RT_DIE_MODE_CHANGE_ERROR | the die mode cannot be changed now | set the die mode before the first use of the device
ACL_ERROR_RT_DIE_SET_ERROR | a die was given in single-die mode | set the die mode first
ACL_ERROR_RT_DIE_MODE_NOT_SET | the die mode is not set | set the die mode first
ACL_ERROR_RT_RINGBUFFER_NOT_INIT | the ring buffer is not ready | initialise it first
ACL_ERROR_RT_RINGBUFFER_NO_DATA | the ring buffer is empty | try again later
ACL_ERROR_RT_STREAM_NOT_SUPPORT_OPERA | the stream does not support this operation | check the flags that the stream was made with
ACL_ERROR_RT_KERNEL_UNREGISTERING | the kernel is being unregistered | keep its binary loaded while it is used
ACL_ERROR_RT_KERNEL_DUPLICATE | the kernel is registered twice | load each binary once
ACL_ERROR_RT_MODEL_ABORT_NORMAL | the model ended by itself |
ACL_ERROR_RT_END_OF_SEQUENCE | the data sequence ended | stop asking for more, or start it again
ACL_ERROR_GE_SUBHEALTHY | the model was redeployed and runs degraded | plan a restart
ACL_ERROR_GE_REDEPLOYING | the model is being redeployed | try again later
ACL_ERROR_GE_USER_RAISE_EXCEPTION | a user's flow function raised an exception | see the function's own log

[ContextError: bind this thread to a device (pyacl.Device) or a context (Context.set_current) first]
ACL_ERROR_RT_CONTEXT_NULL | this thread has no current context | make a pyacl.Device in this thread, or call set_current() of an existing Device or Context
ACL_ERROR_RT_STREAM_CONTEXT | the stream is not of the current context | call set_current() of the context in which the stream was made, or make the stream in this one
ACL_ERROR_RT_MODEL_CONTEXT | the model is not of the current context | execute a model in the context in which it was loaded
ACL_ERROR_RT_CONTEXT_RELEASE_ERROR | the context could not be released | close everything made in it first

[CaptureError: end or leave the capture first]
ACL_ERROR_RT_CAPTURE_DEPENDENCY | a captured wait has no record in the same capture | record the event on a stream of this capture before waiting for it
ACL_ERROR_RT_STREAM_UNJOINED | a side stream did not join back into the capture | record an event on the side stream and wait for it on the first stream before ending the capture
ACL_ERROR_RT_MODEL_CAPTURED | the graph is still being captured | end the capture first
ACL_ERROR_RT_STREAM_CAPTURED | the stream is capturing | do not synchronise, query or destroy it before the capture ends
ACL_ERROR_RT_EVENT_CAPTURED | the event is part of a capture | use another event outside the capture
ACL_ERROR_RT_STREAM_NOT_CAPTURED | the stream is not capturing | use this between the begin and the end of a capture
ACL_ERROR_RT_CAPTURE_MODE_NOT_SUPPORT | this capture mode forbids the call | move the call out of the capture, or use a more relaxed mode
ACL_ERROR_RT_STREAM_CAPTURE_IMPLICIT | the default stream cannot be part of a capture | use a stream of your own
ACL_ERROR_STREAM_CAPTURE_CONFLICT | an event joins two captures | keep separate captures separate
ACL_ERROR_STREAM_TASK_GROUP_STATUS | the task group is in the wrong state | pair the begin and the end of task groups and do not nest them
ACL_ERROR_STREAM_TASK_GROUP_INTR | the task group was interrupted | queue all of its tasks on one stream
ACL_ERROR_RT_STREAM_CAPTURE_UNMATCHED | the capture ends without having begun | pair the begin and the end of a capture
ACL_ERROR_RT_STREAM_CAPTURE_WRONG_THREAD | the capture ends on another thread | end it on the thread that began it, or use the relaxed mode
ACL_ERROR_RT_CAPTURE_MODE_BLOCK_ASYNC | a blocking copy cannot be captured | copy from pinned memory (HostBuffer)
ACL_ERROR_RT_SUB_ACLGRAPH_IS_CAPTURING | a sub-graph is being captured | end its capture first
ACL_ERROR_RT_STREAM_CAPTURE_INVALIDATED | the capture failed earlier | end it, find the first error, and capture again

[AbortedError: -]
ACL_ERROR_RT_DEVICE_TASK_ABORT | the device's tasks are being aborted | wait for the abort to end, then queue the work again
ACL_ERROR_RT_STREAM_ABORT | the stream was aborted | queue the work again on a new stream
ACL_ERROR_RT_TASK_ABORT_STOP | the abort ended before its last step | abort again, or reset the device

[AclTimeoutError: give it more time, or find out what it waits for]
ACL_ERROR_RT_WAIT_TIMEOUT | a wait took too long | check that the event or notify is recorded
ACL_ERROR_RT_TASK_TIMEOUT | a task took too long | raise the limit (aclrtSetOpExecuteTimeOut), or look for a kernel that hangs
ACL_ERROR_WAIT_CALLBACK_TIMEOUT | no callback arrived in time | normal while nothing is queued: call again
ACL_ERROR_RT_REPORT_TIMEOUT | no callback arrived in time | normal while nothing is queued: call again
ACL_ERROR_RT_TIMEOUT | the driver did not answer in time | try again; look at the device's state with npu-smi
ACL_ERROR_GE_MODEL_EXECUTE_TIMEOUT | the model took too long | raise the limit of the execution
ACL_ERROR_SNAPSHOT_LOCK_TIMEOUT | the snapshot's lock took too long | wait for other users of the device

[SyncTimeoutError: give it more time, or find out what it waits for]
ACL_ERROR_RT_STREAM_SYNC_TIMEOUT | the work was not finished in time | wait longer: the work goes on and its buffers are still kept
ACL_ERROR_RT_EVENT_SYNC_TIMEOUT | the event was not reached in time | wait longer: the work goes on and its buffers are still kept

[OutOfMemoryError: free memory or use less]
ACL_ERROR_BAD_ALLOC | memory could not be allocated | close what is not needed any more, or use smaller batches
ACL_ERROR_RT_MEMORY_ALLOCATION | memory could not be allocated | close what is not needed any more; pyacl.mem_info() says how much is free
ACL_ERROR_RT_DEVICE_OOM | the device's memory is exhausted | close what is not needed any more; npu-smi shows which process holds it
ACL_ERROR_GE_MEMORY_ALLOCATION | the graph engine could not allocate memory | close models that are not needed, or use smaller batches
ACL_ERROR_GE_DEVICE_MEMORY_OPERATE_FAILED | the graph engine could not get device memory | close models that are not needed, or use smaller batches

[ResourceExhaustedError: close what is not needed any more]
ACL_ERROR_STORAGE_OVER_LIMIT | a limit of storage is reached | free disk space, or drain the queue
ACL_ERROR_RT_RESOURCE_ALLOC_FAIL | a resource of the device is exhausted | close streams, events and models that are not needed
ACL_ERROR_RT_NO_EVENT_RESOURCE | there are no more events | close events, or reuse them
ACL_ERROR_RT_NO_STREAM_RESOURCE | there are no more streams | close streams, or reuse them; contexts and default streams count too
ACL_ERROR_RT_NO_NOTIFY_RESOURCE | there are no more notifies | close notifies, or reuse them
ACL_ERROR_RT_NO_MODEL_RESOURCE | there is no room for another model | close models that are not needed
ACL_ERROR_RT_NO_CDQ_RESOURCE | an internal queue of the runtime is exhausted | synchronise before queueing more
ACL_ERROR_RT_OVER_LIMIT | there are too many queues | close queues that are not needed
ACL_ERROR_RT_QUEUE_EMPTY | the queue is empty | try again after something was put in
ACL_ERROR_RT_QUEUE_FULL | the queue is full | take something out first
ACL_ERROR_RT_STREAM_TASK_FULL | the stream's task queue is full | synchronise before queueing more
ACL_ERROR_RT_PROGRAM_USE_OUT | too many kernels are registered | unload binaries that are not needed

[UnsupportedError: -]
ACL_ERROR_API_NOT_SUPPORT | the call is not supported here | check which products and run modes the function lists
ACL_ERROR_FEATURE_UNSUPPORTED | the feature is not supported | use the default for the flag that was given
ACL_ERROR_PROF_MODULES_UNSUPPORTED | a profiling option is not supported | leave that option out
ACL_ERROR_RT_FEATURE_NOT_SUPPORT | the runtime or driver does not support this | use another way (for host to host: an ordinary copy), or update the driver
ACL_ERROR_RT_FEATURE_NOT_SUPPORT_UPDATE_OP | the driver cannot update this operator | update the driver
ACL_ERROR_RT_LINK_TYPE_NOT_SUPPORTED | the link between the devices does not support this | choose devices that are linked otherwise
ACL_ERROR_RT_TASK_TYPE_NOT_SUPPORT | a task of this type is not supported here | leave it out of the task group
ACL_ERROR_UNSUPPORTED_JPEG | this way of JPEG coding is not supported | encode the picture in baseline JPEG
ACL_ERROR_OP_UNSUPPORTED_DYNAMIC | the operator does not support dynamic shapes | give fixed shapes
ACL_ERROR_COMPILING_STUB_MODE | the library is the stub for linking, which does nothing | remove the "stub" or "devlib" folder from the library path
ACL_ERROR_RT_NO_PERMISSION | this user may not do that | add the user to the driver's group (HwHiAiUser)

[NoDeviceError: check the driver and npu-smi info]
ACL_ERROR_RT_NO_DEVICE | no device is available | check with npu-smi that a device is there and not in use exclusively
ACL_ERROR_RT_DEV_SETUP_ERROR | the device could not be started | look at its state with npu-smi; reset it or reload the driver
ACL_ERROR_RT_SOC_VERSION | the chip's version could not be read | check that the driver fits the device

[AclFileNotFoundError: check the path and its permissions]
ACL_ERROR_INVALID_FILE | the file is missing or cannot be read | check the path and its permissions
ACL_ERROR_READ_MODEL_FAILURE | the model file cannot be read | check the path and its permissions
ACL_ERROR_GE_EXEC_MODEL_PATH_INVALID | there is no model at this path | check the path
ACL_ERROR_GE_PLGMGR_PATH_INVALID | a library's path is not valid | check LD_LIBRARY_PATH and that set_env.sh was sourced
ACL_ERROR_INVALID_OPP_PATH | the operator package was not found | source CANN's set_env.sh: ASCEND_OPP_PATH is missing or wrong
ACLNN_ERR_INNER_OPP_PATH_NOT_FOUND | the operator package was not found | source CANN's set_env.sh: ASCEND_OPP_PATH is missing or wrong
ACLNN_ERR_INNER_OPP_KERNEL_PKG_NOT_FOUND | the package of compiled kernels is not loaded | install the opp_kernel package for this chip

[AclFileError: check the file]
ACL_ERROR_WRITE_FILE | a file cannot be written | check the folder, its permissions and the free space
ACL_ERROR_RT_FILE_OPEN | a file cannot be opened | check the path of the kernel binary
ACL_ERROR_RT_FILE_WRITE | a file cannot be written | check the folder, its permissions and the free space
ACL_ERROR_INVALID_FILE_SIZE | the file's size is not acceptable | the file is empty, cut short or too large

[FileContentError: check the file's content]
ACL_ERROR_PARSE_FILE | the file's content cannot be parsed | check its JSON: brackets, quotes and at most 10 levels
ACL_ERROR_FILE_MISSING_ATTR | the file lacks a field | complete the configuration
ACL_ERROR_FILE_ATTR_INVALID | a field of the file has a bad value | correct the configuration
ACLNN_ERR_INNER_LOAD_JSON_FAILED | a kernel's description cannot be read | reinstall the operator package
ACLNN_ERR_INNER_JSON_VALUE_NOT_FOUND | a kernel's description lacks a field | rebuild or reinstall the operator package
ACLNN_ERR_INNER_JSON_FORMAT_INVALID | a kernel's description has an unknown format | rebuild or reinstall the operator package
ACLNN_ERR_INNER_JSON_DTYPE_INVALID | a kernel's description has an unknown data type | rebuild or reinstall the operator package
ACLNN_ERR_INNER_OP_FILE_INVALID | the operator's description file is damaged | rebuild or reinstall the operator package
ACLNN_ERR_INNER_INPUT_JSON_IS_NULL | the kernel's description lacks its inputs | rebuild or reinstall the operator package

[ModelError: convert the model with the ATC of this CANN release]
ACL_ERROR_INVALID_MODEL_ID | there is no model with this id | keep the model open while it is used
ACL_ERROR_INVALID_BUNDLE_MODEL_ID | there is no bundle with this id | keep the bundle open while it is used
ACL_ERROR_GE_EXEC_MODEL_ID_INVALID | there is no model with this id | load the model first and keep it open while it is used
ACL_ERROR_DESERIALIZE_MODEL | the model cannot be read | it is damaged or was built for another release: convert it again
ACL_ERROR_PARSE_MODEL | the model cannot be parsed | it is damaged or was built for another release: convert it again
ACL_ERROR_MODEL_MISSING_ATTR | the model lacks a field | convert it again with the ATC of this CANN release
ACL_ERROR_MODEL_INPUT_NOT_MATCH | the inputs do not fit the model | compare number, sizes and shapes with model.inputs
ACL_ERROR_MODEL_OUTPUT_NOT_MATCH | the outputs do not fit the model | compare number and sizes with model.outputs
ACL_ERROR_MODEL_NOT_DYNAMIC | the model has fixed shapes | do not set a batch, size or shape, or convert the model with dynamic ones
ACL_ERROR_OP_LOAD_FAILED | the operator's model cannot be loaded | it was built for another release: compile it again
ACL_ERROR_NOT_STATIC_AIPP | the model has no static AIPP there | check the input's index and how the model was converted
ACL_ERROR_GE_AIPP_NOT_EXIST | the model has no AIPP there | check the input's index and how the model was converted
ACL_ERROR_GE_LOAD_MODEL | the model could not be loaded | it is damaged or was built for another chip or release: convert it again
ACL_ERROR_GE_EXEC_LOAD_MODEL_PARTITION_FAILED | the model's graph could not be loaded | the file is damaged or of another release: convert it again
ACL_ERROR_GE_EXEC_LOAD_WEIGHT_PARTITION_FAILED | the model's weights could not be loaded | the file is damaged or device memory is short
ACL_ERROR_GE_EXEC_LOAD_TASK_PARTITION_FAILED | the model's tasks could not be loaded | it was built for another chip or release: convert it again
ACL_ERROR_GE_EXEC_LOAD_KERNEL_PARTITION_FAILED | the model's kernels could not be loaded | it was built for another chip or release: convert it again
ACL_ERROR_GE_EXEC_RELEASE_MODEL_DATA | the model's memory could not be released | synchronise every stream that executes it before closing it
ACL_ERROR_GE_UNLOAD_MODEL | the model could not be unloaded | synchronise every stream that executes it before closing it
ACL_ERROR_GE_GET_TENSOR_INFO | a tensor's description could not be read from the model | convert it again with the ATC of this CANN release
ACL_ERROR_RT_MODEL_EXECUTE | the model failed while it ran | the plog files name the operator; check its inputs

[OperatorNotFoundError: check the operator's name and that its package is installed]
ACL_ERROR_OP_NOT_FOUND | no operator fits this call | load or compile the operator for these dtypes, shapes and formats
ACL_ERROR_KERNEL_NOT_FOUND | the operator's kernel is missing | register it with aclopCreateKernel first
ACLNN_ERR_INNER_FIND_KERNEL_ERROR | no kernel for this operator, dtype and chip was found | install the opp_kernel package for this chip; the dtypes may be unsupported
ACL_ERROR_RT_SYMBOL_NOT_FOUND | the binary has no such symbol | check the name with nm
ACL_ERROR_RT_KERNEL_LOOKUP | the kernel is not registered in the runtime | check the kernel's name and that its binary is loaded

[OperatorError: see the text above and the plog files for the operator's own message]
ACLNN_ERR_RUNTIME_ERROR | a call of the runtime failed inside the operator | see the text above; check the stream, the context and free memory
ACLNN_ERR_INNER | the operator failed inside, or its executor cannot be reused | for a repeatable executor: this operator does not support it, so use a one-shot executor
ACLNN_ERR_INNER_INFERSHAPE_ERROR | the output's shape could not be inferred | check the shapes of inputs and outputs
ACLNN_ERR_INNER_TILING_ERROR | the operator could not be split over the cores | check shapes and dtypes against the operator's page
ACLNN_ERR_INNER_CREATE_EXECUTOR | the executor could not be created | look for the first error in the text
ACLNN_ERR_INNER_NOT_TRANS_EXECUTOR | the operator's implementation kept its executor | a fault of the operator: its first phase must hand the executor over
ACLNN_ERR_INNER_NULLPTR | a NULL where an executor or a tensor was needed | keep the executor open, and give a tensor for each address to refresh
ACLNN_ERR_INNER_WRONG_ATTR_INFO_SIZE | the number of attributes is wrong | the operator package does not fit this CANN release
ACLNN_ERR_INNER_KEY_CONFLICT | two kernels have one key | remove one of the operator packages
ACLNN_ERR_INNER_INVALID_IMPL_MODE | the implementation mode is not valid | choose high_precision or high_performance
ACLNN_ERR_INNER_ATTR_NUM_OUT_OF_BOUND | there are more attributes than the description has | rebuild the operator package
ACLNN_ERR_INNER_ATTR_LEN_NOT_ENOUGH | there are fewer attributes than the description has | rebuild the operator package
ACLNN_ERR_INNER_INPUT_NUM_IN_JSON_TOO_LARGE | the operator's description has more than 32 inputs | rebuild the operator with fewer inputs
ACLNN_ERR_INNER_STATIC_WORKSPACE_INVALID | the workspace of a static kernel is not valid | rebuild the static kernel
ACLNN_ERR_INNER_STATIC_BLOCK_DIM_INVALID | the core count of a static kernel is not valid | rebuild the static kernel

[DeviceFaultError: the context may be unusable: look for the failed task in the plog files, then reset the device or restart the process]
ACL_ERROR_RT_AICORE_OVER_FLOW | an AI Core computation overflowed | check the value range, or switch the overflow check off
ACL_ERROR_RT_AIVEC_OVER_FLOW | a vector core computation overflowed | check the value range, or switch the overflow check off
ACL_ERROR_RT_OVER_FLOW | a computation overflowed | check the value range, or switch the overflow check off
ACL_ERROR_RT_TS_ERROR | the device's scheduler failed inside |
ACL_ERROR_RT_LOST_HEARTBEAT | the device's scheduler does not answer | reset the device; look at its state with npu-smi
ACL_ERROR_RT_SYS_DMA | the DMA engine failed | check the addresses and sizes of the copies
ACL_ERROR_RT_AICORE_TIMEOUT | an AI Core kernel took too long | look for a kernel that hangs, or raise aclrtSetOpExecuteTimeOut
ACL_ERROR_RT_AICORE_EXCEPTION | an AI Core kernel failed | look for a kernel that reads or writes outside its buffers: sizes, tiling data, freed memory
ACL_ERROR_RT_AICORE_TRAP_EXCEPTION | an AI Core kernel trapped (an assertion) | see the kernel's own message in the plog files
ACL_ERROR_RT_AICORE_TRAP_READ_OVERFLOW | an AI Core kernel read outside its buffers | check sizes, strides and tiling data
ACL_ERROR_RT_AICORE_TRAP_WRITE_OVERFLOW | an AI Core kernel wrote outside its buffers | check sizes, strides and tiling data
ACL_ERROR_RT_VECTOR_CORE_TIMEOUT | a vector core kernel took too long | look for a kernel that hangs, or raise aclrtSetOpExecuteTimeOut
ACL_ERROR_RT_VECTOR_CORE_EXCEPTION | a vector core kernel failed | look for a kernel that reads or writes outside its buffers
ACL_ERROR_RT_VECTOR_CORE_TRAP_EXCEPTION | a vector core kernel trapped (an assertion) | see the kernel's own message in the plog files
ACL_ERROR_RT_VECTOR_CORE_TRAP_READ_OVERFLOW | a vector core kernel read outside its buffers | check sizes, strides and tiling data
ACL_ERROR_RT_VECTOR_CORE_TRAP_WRITE_OVERFLOW | a vector core kernel wrote outside its buffers | check sizes, strides and tiling data
ACL_ERROR_RT_AICPU_TIMEOUT | an AI CPU task took too long | look for a task that waits for something that never comes
ACL_ERROR_RT_AICPU_EXCEPTION | an AI CPU task failed | check its inputs; the plog files name the operator
ACL_ERROR_RT_AICPU_DATADUMP_RSP_ERR | the AI CPU did not answer a dump request |
ACL_ERROR_RT_AICPU_MODEL_RSP_ERR | the AI CPU did not answer for a model |
ACL_ERROR_RT_AICPU_INTERNAL_ERROR | the AI CPU failed inside |
ACL_ERROR_RT_AICPU_INFO_LOAD_RSP_ERR | the AI CPU could not be scheduled |
ACL_ERROR_RT_FFTS_PLUS_TIMEOUT | a composite task took too long | look for a kernel that hangs
ACL_ERROR_RT_FFTS_PLUS_EXCEPTION | a composite task failed | look for a kernel that reads or writes outside its buffers
ACL_ERROR_RT_FFTS_PLUS_TRAP_EXCEPTION | a composite task trapped | see the kernel's own message in the plog files
ACL_ERROR_RT_DEVICE_MEM_ERROR | the device's memory has an error that cannot be corrected | see aclrtGetMemUceInfo; free and do not reuse that memory, or reset the device
ACL_ERROR_RT_HBM_MULTI_BIT_ECC_ERROR | the device's HBM has a multi-bit error | reset the device; replace it if this repeats
ACL_ERROR_RT_SUSPECT_DEVICE_MEM_ERROR | a peer device may have a memory error | look at the peers with npu-smi
ACL_ERROR_RT_LINK_ERROR | the link between devices is broken | look at the links with npu-smi and hccn_tool
ACL_ERROR_RT_SUSPECT_REMOTE_ERROR | a peer's memory failed, or an address out of range was used | check the addresses, then look at the peers with npu-smi
ACL_ERROR_RT_L3_PORT_ERROR | a switch port failed | look at the links with npu-smi and hccn_tool
ACL_ERROR_RT_CCU_TIMEOUT | a collective's engine took too long | check that all ranks take part
ACL_ERROR_RT_CCU_EXCEPTION | a collective's engine failed | check that all ranks take part with the same sizes
ACL_ERROR_RT_COMM_OP_RETRY_FAIL | a collective failed after retries | look at the links with npu-smi and hccn_tool
ACL_ERROR_RT_SOCKET_CLOSE | the session between host and device closed | check the device's state and restart the process

[InternalError: an internal error: keep the plog files (~/ascend/log) and ask Huawei's support]
ACL_ERROR_INTERNAL_ERROR | an error that has no code of its own | see the text above
ACL_ERROR_FAILURE | an internal error |
ACL_ERROR_GE_FAILURE | the graph engine refused or failed | compare shapes, dtypes and attributes with the operator's page; otherwise keep the plog files (~/ascend/log)
ACL_ERROR_RT_FAILURE | the runtime failed inside |
ACL_ERROR_DRV_FAILURE | the driver failed inside | check that driver, firmware and CANN fit each other
ACL_ERROR_PROFILING_FAILURE | profiling failed inside |
ACL_ERROR_RT_INTERNAL_ERROR | the runtime failed inside |
ACL_ERROR_RT_MEMORY_FREE | memory could not be freed | free each allocation once, with the function that fits it
ACL_ERROR_RT_PROFILING_ERROR | profiling failed inside the runtime |
ACL_ERROR_RT_IPC_ERROR | sharing with another process failed | check the key, that the exporter is alive, and that this process is on its list
ACL_ERROR_RT_DEBUG_REGISTER_FAIL | the debugger could not be registered |
ACL_ERROR_RT_DEBUG_UNREGISTER_FAIL | the debugger could not be unregistered |
ACL_ERROR_RT_CDQ_BATCH_ABNORMAL | the runtime could not get an internal resource |
ACL_ERROR_RT_SEND_MSG | a queue's message could not be sent |
ACL_ERROR_RT_COPY_DATA | a queue's data could not be copied |
ACL_ERROR_RT_DRV_INTERNAL_ERROR | the driver failed inside | check that driver, firmware and CANN fit each other
ACL_ERROR_SNAPSHOT_LOCK_FAILED | the process could not be locked for a snapshot | synchronise and try again
ACL_ERROR_SNAPSHOT_UNLOCK_FAILED | the process could not be unlocked after a snapshot |
ACL_ERROR_SNAPSHOT_BACKUP_FAILED | the snapshot could not be taken | lock the process first and see that there is host memory enough
ACL_ERROR_SNAPSHOT_RESTORE_FAILED | the snapshot could not be restored | restore into the process that took it
ACL_ERROR_SNAPSHOT_CALLBACK_FAILED | a snapshot callback failed | see the callback's own error
ACL_ERROR_SNAPSHOT_REGISTER_CALLBACK_FAILED | a snapshot callback could not be registered |
ACL_ERROR_GE_MEMORY_OPERATE_FAILED | the graph engine could not set or copy memory |
ACL_ERROR_GE_INTERNAL_ERROR | the graph engine failed inside |
ACL_ERROR_GE_COMMAND_HANDLE | the graph engine could not handle a command |
"""

# Old names that CANN keeps for codes that were renumbered.
DEPRECATED = {
    "ACL_ERROR_STREAM_NOT_SUBSCRIBE": "ACL_ERROR_RT_STREAM_NO_CB_REG",
    "ACL_ERROR_THREAD_NOT_SUBSCRIBE": "ACL_ERROR_RT_THREAD_SUBSCRIBE",
    "ACL_ERROR_WAIT_CALLBACK_TIMEOUT": "ACL_ERROR_RT_REPORT_TIMEOUT",
    "ACL_ERROR_NOT_STATIC_AIPP": "ACL_ERROR_GE_AIPP_NOT_EXIST",
    "ACL_ERROR_GROUP_NOT_SET": "ACL_ERROR_RT_GROUP_NOT_SET",
    "ACL_ERROR_GROUP_NOT_CREATE": "ACL_ERROR_RT_GROUP_NOT_CREATE",
    "ACL_ERROR_INVALID_DEVICE": "ACL_ERROR_RT_INVALID_DEVICEID",
}

# What an unknown code's first digit says.
FIRST_DIGIT = {
    "1": ("InvalidArgumentError", "the call or the environment is at fault", "check the arguments and the installation"),
    "2": ("ResourceExhaustedError", "a resource is short, or this hardware does not support it", "free resources, or check the products that the function lists"),
    "3": ("StateError", "the state does not allow this now (a queue is full, for example)", "check the state and try again"),
    "5": ("InternalError", "an internal error", "keep the plog files (~/ascend/log) and ask Huawei's support"),
}
