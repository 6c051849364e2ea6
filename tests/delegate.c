/* A delegate for tests: `how` it goes is one of its options. The structs are the beginnings of those in
   TensorFlow Lite's core/c/common.h. */
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

typedef struct { int size, data[]; } Integers;
typedef struct { Integers *inputs, *outputs; } Node;
typedef struct { int64_t type; float *data; int64_t rest[12]; } Tensor;
typedef struct Context Context;
typedef struct Delegate Delegate;
typedef struct {
  void *init, *free, *prepare;
  int (*invoke)(Context *, Node *);
  void *profiling;
  int code;
  const char *name;
  int version;
  void *rest[4];
} Registration;
struct Delegate { int64_t device; int (*prepare)(Context *, Delegate *); void *copies[3]; int64_t flags; void *opaque; };
struct Context {
  size_t size;
  int (*plan)(Context *, Integers **);
  Tensor *tensors;
  void *others[5];
  int (*replace)(Context *, Registration, const Integers *, Delegate *);
};

static const char *how = "works";

/* 7.0 has the bytes 0, 0, 224, 64: the first four classes of an int8 output. */
static int invoke(Context *context, Node *node) {
  *context->tensors[node->outputs->data[0]].data = 7;
  return 0;
}

/* Take the last operator. */
static int prepare(Context *context, Delegate *self) {
  if (!strcmp(how, "idle")) return 0;
  if (!strcmp(how, "unprepared")) return 1;
  Integers *plan, *last = calloc(2, sizeof(int));
  context->plan(context, &plan);
  last->size = 1;
  last->data[0] = plan->data[plan->size - 1];
  Registration kernel = {.invoke = invoke, .name = "test", .version = 1};
  int status = context->replace(context, kernel, last, self);
  free(last);
  return status;
}

void *tflite_plugin_create_delegate(char **keys, char **values, size_t count, void (*report)(const char *)) {
  int device = -1;
  how = "works";
  for (size_t i = 0; i < count; i++) {
    if (!strcmp(keys[i], "how")) how = strdup(values[i]);
    if (!strcmp(keys[i], "device") &&
        flock(device = open(values[i], O_RDWR | O_CREAT | O_CLOEXEC, 0600), LOCK_EX | LOCK_NB)) {
      report("another process has the device");
      return NULL;
    }
  }
  if (!strcmp(how, "nothing")) return NULL;
  if (!strcmp(how, "crashes")) raise(SIGSEGV);
  while (!strcmp(how, "hangs")) pause();
  Delegate *made = calloc(1, sizeof *made);
  made->prepare = prepare;
  made->device = device;
  made->flags = 1; /* Else all operators must be known to the interpreter before it is asked. */
  return made;
}

void tflite_plugin_destroy_delegate(Delegate *delegate) {
  if (!delegate) return;
  close(delegate->device);
  free(delegate);
}
