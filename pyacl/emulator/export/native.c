/* What Python's callbacks cannot do, and what libprofapi.so has besides and can answer without a profiler. */

/* Callbacks cannot be variadic: Python gets the finished text. */
static void app_log(int index, aclLogLevel level, const char *function, const char *file, uint32_t line,
                    const char *format, va_list arguments) {
    char text[1024];
    vsnprintf(text, sizeof text, format ? format : "", arguments);
    FIND_CALLBACK(index, );
    settle();
    ((void (*)(aclLogLevel, const char *, const char *, uint32_t, const char *))callback)(level, function, file, line,
                                                                                          text);
}

EXPORT uint64_t MsprofSysCycleTime(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

EXPORT uint64_t MsprofGetHashId(const char *text, size_t length) {
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; text && i < length; i++) hash = (hash ^ (unsigned char)text[i]) * 0x100000001b3u;
    return hash;
}
