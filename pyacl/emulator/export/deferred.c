/* torch_npu's task queue: a C++ thread makes the calls that start work, while the thread that fills the queue may hold
   the GIL and wait for it. So in a process that uses the queue (TASK_QUEUE_ENABLE is set and not 0) such calls do not
   wait for the GIL: a thread of our own makes them, in order, each in the context of the thread that it stands in for.
   Every other call first waits until they are made; what failed meanwhile is the code of the next synchronisation. */

struct call {
    int index;
    void *context;
    long words[6]; /* the arguments; all are integers and pointers */
};

static pthread_mutex_t calls_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t calls_more = PTHREAD_COND_INITIALIZER, calls_done = PTHREAD_COND_INITIALIZER;
static struct call *calls;
static size_t calls_first, calls_count, calls_room;
static size_t calls_open; /* queued or being made */
static int calls_failed;  /* the first failure that nobody was told of */

static __thread int foreign; /* whether calls are deferred: 1 no, 2 yes, 0 not known yet */
static __thread void *foreign_context;

static void make(const struct call *call) {
    static void *context; /* of the thread that makes the calls */
    void *callback = __atomic_load_n(&table[call->index], __ATOMIC_ACQUIRE);
    if (callback == NULL) callback = resolve(call->index);
    const long *w = call->words;
    int code = FAILED;
    if (call->context && call->context != context &&
        ((int (*)(void *))table[SET_CURRENT_CONTEXT])(call->context) == 0)
        context = call->context;
    if (callback) code = ((int (*)(long, long, long, long, long, long))callback)(w[0], w[1], w[2], w[3], w[4], w[5]);
    if (code == 0) return;
    const char *text = table[GET_RECENT_ERR_MSG] ? ((const char *(*)(void))table[GET_RECENT_ERR_MSG])() : NULL;
    explain(names[call->index], text ? text : "failed");
    int none = 0;
    __atomic_compare_exchange_n(&calls_failed, &none, code, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

static void *make_calls(void *unused) {
    (void)unused;
    pthread_mutex_lock(&calls_mutex);
    for (;;) {
        while (calls_count == 0) pthread_cond_wait(&calls_more, &calls_mutex);
        struct call call = calls[calls_first];
        calls_first = (calls_first + 1) % calls_room;
        calls_count--;
        pthread_mutex_unlock(&calls_mutex);
        make(&call);
        pthread_mutex_lock(&calls_mutex);
        if (__atomic_sub_fetch(&calls_open, 1, __ATOMIC_ACQ_REL) == 0) pthread_cond_broadcast(&calls_done);
    }
    return NULL;
}

static int defer(int index, const long *words) {
    static int serving;
    int code = 0;
    pthread_t thread;
    pthread_mutex_lock(&calls_mutex);
    if (!serving) {
        serving = pthread_create(&thread, NULL, make_calls, NULL) == 0;
        if (serving) pthread_detach(thread);
    }
    if (calls_count == calls_room) {
        size_t room = calls_room ? 2 * calls_room : 1024;
        struct call *more = (struct call *)malloc(room * sizeof *more);
        for (size_t i = 0; more && i < calls_count; i++) more[i] = calls[(calls_first + i) % calls_room];
        if (more) free(calls), calls = more, calls_first = 0, calls_room = room;
    }
    if (serving && calls_count < calls_room) {
        struct call *call = &calls[(calls_first + calls_count++) % calls_room];
        call->index = index;
        call->context = foreign_context;
        memcpy(call->words, words, sizeof call->words);
        __atomic_add_fetch(&calls_open, 1, __ATOMIC_ACQ_REL);
        pthread_cond_signal(&calls_more);
    } else {
        code = FAILED;
    }
    pthread_mutex_unlock(&calls_mutex);
    return code;
}

/* Before any call that is not deferred. */
static void settle(void) {
    if (!queueing) return;
    if (!foreign) foreign = py.PyGILState_GetThisThreadState() ? 1 : 2;
    if (!__atomic_load_n(&calls_open, __ATOMIC_ACQUIRE)) return;
    void *released = py.PyGILState_Check() ? py.PyEval_SaveThread() : NULL;
    pthread_mutex_lock(&calls_mutex);
    while (__atomic_load_n(&calls_open, __ATOMIC_ACQUIRE)) pthread_cond_wait(&calls_done, &calls_mutex);
    pthread_mutex_unlock(&calls_mutex);
    if (released) py.PyEval_RestoreThread(released);
}

/* Notes the context of a thread whose calls are deferred, while it still can: after it set one. */
static void look_at_context(void) {
    static const int needed[] = {GET_CURRENT_CONTEXT, SET_CURRENT_CONTEXT, GET_RECENT_ERR_MSG};
    if (!queueing || foreign != 2) return;
    foreign_context = NULL;
    for (int i = 0; i < 3; i++)
        if (table[needed[i]] == NULL && resolve(needed[i]) == NULL) return;
    if (((int (*)(void **))table[GET_CURRENT_CONTEXT])(&foreign_context) != 0) foreign_context = NULL;
}

/* Whether this thread's calls that start work are deferred: not before it has a context. */
static int deferring(void) { return queueing && foreign_context != NULL; }

/* The failure of a deferred call, told once, by a synchronisation. */
static int deferred_failure(void) {
    int code = queueing ? __atomic_exchange_n(&calls_failed, 0, __ATOMIC_ACQ_REL) : 0;
    if (code) {
        int held = py.PyGILState_Ensure();
        void *module = py.PyImport_ImportModule("pyacl.emulator.export.entry");
        void *noted = module ? py.PyObject_CallMethod(module, "note", "s", reason) : NULL;
        if (py.PyErr_Occurred()) py.PyErr_Print();
        if (noted) py.Py_DecRef(noted);
        if (module) py.Py_DecRef(module);
        py.PyGILState_Release(held);
    }
    return code;
}
