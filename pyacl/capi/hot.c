/* Calls that keep the GIL, see hot.py. Part of the source of _acl_hot: cffi's wrappers, which follow, would release it. */

#include <structmember.h>

#undef Py_BEGIN_ALLOW_THREADS
#undef Py_END_ALLOW_THREADS
#define Py_BEGIN_ALLOW_THREADS {
#define Py_END_ALLOW_THREADS }

/* How many calls a stream got, and how many of these are known to be done. A stream that is not known, for it was
   never seen or its place was taken, counts as full. Only touched with the GIL. */
typedef struct { void *stream; uint64_t queued, done; } pyacl_queue;
static pyacl_queue pyacl_queues[256];

static pyacl_queue *pyacl_find(void *stream) {
    uintptr_t key = (uintptr_t)stream;
    pyacl_queue *queue = &pyacl_queues[(key >> 4 ^ key >> 12) & 255];
    if (queue->stream != stream) {
        queue->stream = stream;
        queue->done = queue->queued;
        queue->queued += PYACL_LIMIT;
    }
    return queue;
}

/* NULL is another stream in every context. */
static int pyacl_may_wait(void *stream) {
    pyacl_queue *queue = pyacl_find(stream);
    return ++queue->queued - queue->done > PYACL_LIMIT || stream == NULL;
}

static void pyacl_drained(void *stream, uint64_t until) {
    pyacl_queue *queue = pyacl_find(stream);
    if (queue->done < until) queue->done = until;
}

static aclnnStatus launch(void *phase_two, void *workspace, uint64_t workspaceSize, aclOpExecutor *executor,
                          aclrtStream stream);

/* Executor.launch in C. It reads the slots that the Python method reads and does what that does on its usual way: a
   repeatable executor, a Stream, enough workspace. Everything else goes to the Python method. */

static struct {
    PyObject *plain, *after;                 /* the Python method, and the name "_after" */
    PyTypeObject *stream, *flight;
    struct _cffi_ctypedescr *pointer;        /* cffi's void * */
    Py_ssize_t handle, phase, size, repeatable, in_stream, queue, held, workspace, room;
} pyacl_fast;

static Py_ssize_t pyacl_slot(PyObject *cls, const char *name) {
    PyObject *slot = PyObject_GetAttrString(cls, name);
    Py_ssize_t offset = -1;
    if (slot == NULL) PyErr_Clear();
    else if (Py_TYPE(slot) == &PyMemberDescr_Type) offset = ((PyMemberDescrObject *)slot)->d_member->offset;
    Py_XDECREF(slot);
    return offset;
}

#define PYACL_SLOT(object, offset) (*(PyObject **)((char *)(object) + (offset)))

/* A cdata pointer's value; 0 with a TypeError for anything else. */
static int pyacl_pointer(PyObject *cdata, void **out) {
    *out = _cffi_to_c_pointer(cdata, pyacl_fast.pointer);
    return *out != NULL || !PyErr_Occurred();
}

static PyObject *pyacl_fast_launch(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names) {
    if (count == 1 && names == NULL && Py_TYPE(args[0]) == pyacl_fast.stream) {
        PyObject *flight = PYACL_SLOT(args[0], pyacl_fast.in_stream), *queue, *held, *result = NULL;
        PyObject *handle = PYACL_SLOT(self, pyacl_fast.handle), *phase = PYACL_SLOT(self, pyacl_fast.phase);
        PyObject *size = PYACL_SLOT(self, pyacl_fast.size);
        void *function, *executor, *stream, *workspace = NULL;
        aclnnStatus status;
        uint64_t bytes;
        if (flight == NULL || Py_TYPE(flight) != pyacl_fast.flight || handle == NULL || phase == NULL || size == NULL
            || PYACL_SLOT(self, pyacl_fast.repeatable) != Py_True
            || (queue = PYACL_SLOT(flight, pyacl_fast.queue)) == NULL) goto plain;
        bytes = PyLong_AsUnsignedLongLong(size);
        if (bytes != 0) {
            PyObject *room = PYACL_SLOT(flight, pyacl_fast.room), *memory = PYACL_SLOT(flight, pyacl_fast.workspace);
            uint64_t has = room == NULL || memory == NULL ? 0 : PyLong_AsUnsignedLongLong(room);
            if (PyErr_Occurred() || bytes > has) goto plain;
            if (!pyacl_pointer(memory, &workspace)) return NULL;
        }
        if (!pyacl_pointer(phase, &function) || !pyacl_pointer(handle, &executor) || !pyacl_pointer(queue, &stream))
            return NULL;
        Py_INCREF(flight);  /* Python may run meanwhile */
        status = launch(function, workspace, bytes, executor, stream);
        held = PYACL_SLOT(flight, pyacl_fast.held);
        if (held == NULL || !PyDict_CheckExact(held)) PyErr_SetString(PyExc_RuntimeError, "a stream lost its record");
        else {
            int kept;
            Py_INCREF(held);  /* the hash of a subclass is Python, too */
            kept = PyDict_SetItem(held, self, Py_None);
            Py_DECREF(held);
            if (kept == 0 && status == 0) {
                result = Py_None;
                Py_INCREF(result);
            } else if (kept == 0) {
                PyObject *code = PyLong_FromLong(status);
                if (code != NULL) result = PyObject_CallMethodObjArgs(self, pyacl_fast.after, code, flight, NULL);
                Py_XDECREF(code);
            }
        }
        Py_DECREF(flight);
        return result;
    }
plain:
    PyErr_Clear();
    {
        PyObject *all[8];
        Py_ssize_t i, named = names == NULL ? 0 : PyTuple_GET_SIZE(names);
        if (count + named > 7) {
            PyErr_SetString(PyExc_TypeError, "launch() takes one argument: the stream");
            return NULL;
        }
        all[0] = self;
        for (i = 0; i < count + named; i++) all[i + 1] = args[i];
        return PyObject_Vectorcall(pyacl_fast.plain, all, count + 1, names);
    }
}

static PyMethodDef pyacl_fast_method = {"launch", (PyCFunction)(void (*)(void))pyacl_fast_launch,
                                        METH_FASTCALL | METH_KEYWORDS, NULL};

/* Puts it in the place of Executor.launch: 0, or -1 where the classes do not have the slots it needs. The arguments are
   Python objects: the classes Executor, Stream and Flight, and cffi's type "void *". */
static int pyacl_accelerate(void *executor, void *stream, void *flight, void *pointer) {
    PyObject *method, *text;
    static const char signature[] = "launch($self, /, stream=None)\n--\n\n";
    static char document[2048];
    const char *said;
    if (pyacl_fast.plain != NULL) return -1;
    pyacl_fast.handle = pyacl_slot(executor, "handle");
    pyacl_fast.phase = pyacl_slot(executor, "_phase_two");
    pyacl_fast.size = pyacl_slot(executor, "_size");
    pyacl_fast.repeatable = pyacl_slot(executor, "repeatable");
    pyacl_fast.in_stream = pyacl_slot(stream, "flight");
    pyacl_fast.queue = pyacl_slot(flight, "handle");
    pyacl_fast.held = pyacl_slot(flight, "held");
    pyacl_fast.workspace = pyacl_slot(flight, "workspace");
    pyacl_fast.room = pyacl_slot(flight, "room");
    if (pyacl_fast.handle < 0 || pyacl_fast.phase < 0 || pyacl_fast.size < 0 || pyacl_fast.repeatable < 0
        || pyacl_fast.in_stream < 0 || pyacl_fast.queue < 0 || pyacl_fast.held < 0 || pyacl_fast.workspace < 0
        || pyacl_fast.room < 0) return -1;
    pyacl_fast.stream = (PyTypeObject *)stream;
    pyacl_fast.flight = (PyTypeObject *)flight;
    pyacl_fast.pointer = (struct _cffi_ctypedescr *)pointer;
    pyacl_fast.after = PyUnicode_InternFromString("_after");
    pyacl_fast.plain = PyObject_GetAttrString(executor, "launch");
    text = pyacl_fast.plain ? PyObject_GetAttrString(pyacl_fast.plain, "__doc__") : NULL;
    said = text != NULL && PyUnicode_Check(text) ? PyUnicode_AsUTF8(text) : NULL;
    snprintf(document, sizeof document, "%s%s", signature, said ? said : "");
    pyacl_fast_method.ml_doc = document;
    Py_XDECREF(text);
    PyErr_Clear();
    Py_XINCREF(pointer);
    Py_XINCREF(stream);
    Py_XINCREF(flight);
    method = pyacl_fast.plain ? PyDescr_NewMethod((PyTypeObject *)executor, &pyacl_fast_method) : NULL;
    if (method == NULL || PyObject_SetAttrString(executor, "launch", method) < 0) {
        PyErr_Clear();
        return -1;
    }
    Py_DECREF(method);
    return 0;
}
