/* What a CUDA program needs of a container, by the driver API alone: no toolkit, no headers of NVIDIA's.
 * cuda-check add | managed | pinned | loop SECONDS | paths
 * Prints OK or what failed; the exit code is 0, or 1, or the code of cuInit plus 100 where that fails. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef int result;
typedef unsigned long long pointer;
typedef void *handle;

static void *library;

static void *find(const char *name) {
    void *found = dlsym(library, name);
    if (!found) { printf("no %s in libcuda\n", name); exit(1); }
    return found;
}

#define CALL(name, ...) do { \
    result code = ((result (*)())find(name))(__VA_ARGS__); \
    if (code) { printf("%s: error %d\n", name, code); exit(1); } \
} while (0)

#define COUNT (1u << 20)

static const char *PTX =
    ".version 6.0\n.target sm_50\n.address_size 64\n"
    ".visible .entry add(.param .u64 a, .param .u64 b, .param .u64 c, .param .u32 n) {\n"
    ".reg .pred %p; .reg .f32 %f<4>; .reg .b32 %r<6>; .reg .b64 %d<8>;\n"
    "ld.param.u64 %d1, [a]; ld.param.u64 %d2, [b]; ld.param.u64 %d3, [c]; ld.param.u32 %r1, [n];\n"
    "mov.u32 %r2, %ctaid.x; mov.u32 %r3, %ntid.x; mov.u32 %r4, %tid.x; mad.lo.s32 %r5, %r2, %r3, %r4;\n"
    "setp.ge.u32 %p, %r5, %r1; @%p bra done;\n"
    "mul.wide.u32 %d4, %r5, 4; add.s64 %d5, %d1, %d4; add.s64 %d6, %d2, %d4; add.s64 %d7, %d3, %d4;\n"
    "ld.global.f32 %f1, [%d5]; ld.global.f32 %f2, [%d6]; add.f32 %f3, %f1, %f2; st.global.f32 [%d7], %f3;\n"
    "done: ret;\n}\n";

static handle kernel(void) {
    handle module, function;
    CALL("cuModuleLoadData", &module, PTX);
    CALL("cuModuleGetFunction", &function, module, "add");
    return function;
}

static void launch(handle function, pointer a, pointer b, pointer c) {
    unsigned count = COUNT;
    void *arguments[] = {&a, &b, &c, &count};
    CALL("cuLaunchKernel", function, COUNT / 256, 1u, 1u, 256u, 1u, 1u, 0u, (void *)0, arguments, (void **)0);
    CALL("cuCtxSynchronize");
}

static void add(void) {
    float *host = malloc(3ul * COUNT * 4);
    pointer device[3];
    for (unsigned i = 0; i < COUNT; i++) { host[i] = i; host[COUNT + i] = 2.0f * i; }
    for (int i = 0; i < 3; i++) CALL("cuMemAlloc_v2", &device[i], (size_t)COUNT * 4);
    for (int i = 0; i < 2; i++) CALL("cuMemcpyHtoD_v2", device[i], host + (size_t)i * COUNT, (size_t)COUNT * 4);
    launch(kernel(), device[0], device[1], device[2]);
    CALL("cuMemcpyDtoH_v2", host + 2ul * COUNT, device[2], (size_t)COUNT * 4);
    for (unsigned i = 0; i < COUNT; i++)
        if (host[2ul * COUNT + i] != host[i] + host[COUNT + i]) { printf("wrong sum at %u\n", i); exit(1); }
}

static void managed(void) {
    pointer memory;
    CALL("cuMemAllocManaged", &memory, (size_t)3 * COUNT * 4, 1u);
    float *values = (float *)memory;
    for (unsigned i = 0; i < COUNT; i++) { values[i] = i; values[COUNT + i] = 1.0f; }
    launch(kernel(), memory, memory + 4ull * COUNT, memory + 8ull * COUNT);
    for (unsigned i = 0; i < COUNT; i++)
        if (values[2ul * COUNT + i] != i + 1.0f) { printf("wrong sum at %u\n", i); exit(1); }
}

static void pinned(void) {
    void *memory;
    CALL("cuMemAllocHost_v2", &memory, (size_t)1 << 30);
    memset(memory, 1, (size_t)1 << 30);
    CALL("cuMemFreeHost", memory);
}

static void loop(int seconds) {
    time_t end = time(0) + seconds;
    pointer memory;
    CALL("cuMemAlloc_v2", &memory, (size_t)3 * COUNT * 4);
    handle function = kernel();
    printf("LOOPING\n");
    fflush(stdout);
    while (time(0) < end) launch(function, memory, memory + 4ull * COUNT, memory + 8ull * COUNT);
}

static void paths(void) {
    char line[4096];
    FILE *maps = fopen("/proc/self/maps", "r");
    dlopen("libnvidia-ml.so.1", RTLD_NOW);
    kernel();
    while (maps && fgets(line, sizeof line, maps))
        if (strstr(line, "r-xp") && (strstr(line, "libcuda") || strstr(line, "libnvidia"))) fputs(strchr(line, '/'), stdout);
}

int main(int count, char **words) {
    const char *word = count > 1 ? words[1] : "add";
    library = dlopen("libcuda.so.1", RTLD_NOW);
    if (!library) { printf("dlopen: %s\n", dlerror()); return 1; }
    result code = ((result (*)(unsigned))find("cuInit"))(0);
    if (code) { printf("cuInit: error %d\n", code); return code < 100 ? 100 + code : code > 155 ? 255 : code; }
    int devices = 0, version = 0;
    CALL("cuDeviceGetCount", &devices);
    CALL("cuDriverGetVersion", &version);
    int device;
    handle context;
    CALL("cuDeviceGet", &device, 0);
    CALL("cuCtxCreate_v2", &context, 0u, device);
    if (!strcmp(word, "add")) add();
    else if (!strcmp(word, "managed")) managed();
    else if (!strcmp(word, "pinned")) pinned();
    else if (!strcmp(word, "loop")) loop(count > 2 ? atoi(words[2]) : 10);
    else if (!strcmp(word, "paths")) paths();
    else { printf("unknown word %s\n", word); return 1; }
    printf("OK devices=%d cuda=%d\n", devices, version);
    return 0;
}
