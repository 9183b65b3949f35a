from ..failure import take_message
def aclGetRecentErrMsg():
    return take_message()
def aclInit(path): return 0
