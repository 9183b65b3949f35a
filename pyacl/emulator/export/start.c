/* How an exported function finds its Python function: the first call of each asks the interpreter for the address of
   the emulator's callback and keeps it; every later call jumps there.

   A Python process shares its interpreter. In any other program the first call starts one, of the Python that built
   this library. The generated half of this file defines the macros, the names and the functions. */

#define FAILED 500000 /* ACL_ERROR_INTERNAL_ERROR */

#define PYTHON(X)                                                                                                      \
    X(int, Py_IsInitialized, (void))                                                                                   \
    X(void, Py_InitializeEx, (int))                                                                                    \
    X(wchar_t *, Py_DecodeLocale, (const char *, size_t *))                                                            \
    X(void, Py_SetProgramName, (const wchar_t *))                                                                      \
    X(int, Py_AtExit, (void (*)(void)))                                                                                \
    X(void *, PyEval_SaveThread, (void))                                                                               \
    X(int, PyGILState_Ensure, (void))                                                                                  \
    X(void, PyGILState_Release, (int))                                                                                 \
    X(int, PyGILState_Check, (void))                                                                                   \
    X(void *, PyGILState_GetThisThreadState, (void))                                                                   \
    X(void, PyEval_RestoreThread, (void *))                                                                            \
    X(int, PyRun_SimpleString, (const char *))                                                                         \
    X(void *, PyImport_ImportModule, (const char *))                                                                   \
    X(void *, PyObject_CallMethod, (void *, const char *, const char *, ...))                                          \
    X(unsigned long long, PyLong_AsUnsignedLongLong, (void *))                                                         \
    X(void *, PyErr_Occurred, (void))                                                                                  \
    X(void, PyErr_Print, (void))                                                                                       \
    X(void, PyErr_Fetch, (void **, void **, void **))                                                                  \
    X(void, PyErr_Restore, (void *, void *, void *))                                                                   \
    X(void, Py_DecRef, (void *))

#define FIELD(type, name, parameters) type(*name) parameters;
static struct { PYTHON(FIELD) } py;

enum { NEW, RUNNING, ENDED };
static int state = NEW;
static int queueing; /* see deferred.c */
static int prepared; /* the bootstrap ran; guarded by the GIL */
static pthread_mutex_t starting = PTHREAD_MUTEX_INITIALIZER;
static void *table[COUNT]; /* the callbacks, NULL until first used */
static char reason[1024];  /* why the last call did not reach Python; aclGetRecentErrMsg gives it */

static void explain(const char *name, const char *text) {
    if (*reason && strcmp(name, "aclGetRecentErrMsg") == 0) return; /* it is about to give the reason */
    snprintf(reason, sizeof reason, "%s: %s", name, text);
    fprintf(stderr, "pyacl emulator: %s\n", reason);
}

/* From now on every call fails: the interpreter is gone, or stayed behind in the parent process. */
static void end(void) {
    __atomic_store_n(&state, ENDED, __ATOMIC_RELEASE);
    for (int i = 0; i < COUNT; i++) __atomic_store_n(&table[i], NULL, __ATOMIC_RELEASE);
}

static int find_python(void *library) {
#define FIND(type, name, parameters)                                                                                   \
    if ((*(void **)&py.name = dlsym(library, #name)) == NULL) return 0;
    PYTHON(FIND)
    return 1;
}

/* Whether Python would find its own modules: without them it ends the whole program. */
static int complete(void) {
    char path[4096];
    const char *home = getenv("PYTHONHOME");
    if (home && *home)
        snprintf(path, sizeof path, "%.*s/lib/" PYTHON_FOLDER "/os.py", (int)strcspn(home, ":"), home);
    else
        snprintf(path, sizeof path, "%s/os.py", STDLIB);
    return access(path, R_OK) == 0 && access(PROGRAM, X_OK) == 0;
}

/* Makes `py` and an interpreter; the mutex is never waited for by a thread that others wait for, GIL or not. */
static int start(const char *name) {
    if (__atomic_load_n(&state, __ATOMIC_ACQUIRE) == RUNNING) return 1;
    pthread_mutex_lock(&starting);
    if (state == ENDED) {
        explain(name, "the emulator ended with the interpreter, or belongs to the process that forked this one");
    } else if (state == NEW) {
        int found = find_python(RTLD_DEFAULT);
        if (!found) {
            void *library = dlopen(LIBPYTHON, RTLD_NOW | RTLD_GLOBAL);
            if (library == NULL) explain(name, dlerror());
            else if (!(found = find_python(library))) explain(name, LIBPYTHON " is not a Python library");
        }
        if (found && py.Py_IsInitialized()) {
            const char *queue = getenv("TASK_QUEUE_ENABLE");
            queueing = queue && *queue && strcmp(queue, "0") != 0;
            if (queueing && strcmp(queue, "1") != 0)
                fprintf(stderr, "pyacl emulator: TASK_QUEUE_ENABLE=%s can hang here: set 1 or 0\n", queue);
        } else if (found) {
            if (!complete()) {
                explain(name, "the Python that built this library, " PROGRAM ", is gone or hidden by PYTHONHOME");
                pthread_mutex_unlock(&starting);
                return 0;
            }
            py.Py_SetProgramName(py.Py_DecodeLocale(PROGRAM, NULL));
            py.Py_InitializeEx(0); /* signals stay the program's */
            py.PyEval_SaveThread();
        }
        if (found) {
            pthread_atfork(NULL, NULL, end);
            __atomic_store_n(&state, RUNNING, __ATOMIC_RELEASE);
        }
    }
    pthread_mutex_unlock(&starting);
    return state == RUNNING;
}

/* The callback's address, or NULL after saying why. Needs the GIL. */
static void *ask(const char *name) {
    if (!prepared) {
        if (py.PyRun_SimpleString(BOOTSTRAP) != 0) {
            explain(name, "pyacl's emulator cannot be imported; Python's reason is on stderr");
            return NULL;
        }
        if (!prepared) py.Py_AtExit(end);
        prepared = 1;
    }
    void *module = py.PyImport_ImportModule("pyacl.emulator.export.entry");
    void *address = module ? py.PyObject_CallMethod(module, "address", "s", name) : NULL;
    void *callback = address ? (void *)(uintptr_t)py.PyLong_AsUnsignedLongLong(address) : NULL;
    if (py.PyErr_Occurred()) py.PyErr_Print();
    if (address) py.Py_DecRef(address);
    if (module) py.Py_DecRef(module);
    if (callback == NULL) explain(name, "pyacl's emulator does not know this function");
    return callback;
}

/* An exception that is on its way through the caller: objects that it takes down may call while they end. */
struct exception {
    void *type, *value, *traceback;
};

static inline struct exception put_aside(void) {
    struct exception raised = {NULL, NULL, NULL};
    if (py.PyGILState_Check() && py.PyErr_Occurred()) py.PyErr_Fetch(&raised.type, &raised.value, &raised.traceback);
    return raised;
}

static inline void put_back(struct exception *raised) {
    if (raised->type) py.PyErr_Restore(raised->type, raised->value, raised->traceback);
}

static __attribute__((noinline)) void *resolve(int index) {
    const char *name = names[index];
    if (!start(name)) return NULL;
    int held = py.PyGILState_Ensure();
    struct exception raised = put_aside();
    void *callback = ask(name);
    put_back(&raised);
    py.PyGILState_Release(held);
    if (callback) __atomic_store_n(&table[index], callback, __ATOMIC_RELEASE);
    return callback;
}

#define FIND_CALLBACK(index, failure)                                                                                  \
    void *callback = __atomic_load_n(&table[index], __ATOMIC_ACQUIRE);                                                 \
    if (__builtin_expect(callback == NULL, 0) && (callback = resolve(index)) == NULL) return failure;                  \
    __attribute__((cleanup(put_back))) struct exception raised = put_aside()
