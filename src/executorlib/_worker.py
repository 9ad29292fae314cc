"""What a worker does in Python: once per process, or when a call went wrong. The loop around calls is in C.

Loaded in the zygote from its file, without the package, and then inherited by every worker: imports at the top of this
file would be paid by each start of an executor.
"""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Missing where a program in backend/ uses parts of this file, in an environment without this package.
_core: "Any" = sys.modules.get("executorlib._core")

# What is pickled from here goes by a top-level name, which a worker resolves without importing the package.
_ALIAS = "_executorlib_worker"
sys.modules[_ALIAS] = sys.modules[__name__]

THREAD_VARIABLES = tuple(
    f"{library}_NUM_THREADS" for library in ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "VECLIB", "NUMBA")
)


class Chunk:
    """Applies a function to a list of argument tuples: what `map(chunksize=…)` submits."""

    __module__ = _ALIAS

    def __init__(self, function):
        self.function = function

    def __call__(self, calls: list[tuple]) -> list:
        function = self.function
        return [function(*arguments) for arguments in calls]


class Batch:
    """Applies a function to argument tuples up to the first that fails; what `map` submits for calls known to be short.

    Returns the results, None or (exception, text of its traceback) of the call that ended it, and the seconds it took.
    """

    __module__ = _ALIAS

    def __init__(self, function):
        self.function = function

    def __call__(self, calls: list[tuple]) -> tuple:
        from time import perf_counter

        function = self.function
        results: list = []
        append = results.append
        started = perf_counter()
        try:
            for arguments in calls:
                result = function(*arguments)
                if type(result).__name__ not in PLAIN:
                    check_picklable(function, result)
                append(result)
        except BaseException as exception:
            return results, dump_exception(exception, None, None), perf_counter() - started
        return results, None, perf_counter() - started


# Names of types whose instances can be pickled: others are tried one by one, so that a failure is that call's alone.
PLAIN = frozenset(
    {"NoneType", "bool", "int", "float", "complex", "str", "bytes", "float64", "float32", "int64", "ndarray"}
)


def check_picklable(function, result) -> None:
    from _pickle import dumps

    try:
        dumps(result, 5)
    except Exception:
        import cloudpickle

        try:
            cloudpickle.dumps(result, 5)
        except Exception as error:
            explain_result(error, function, result)
            raise


# ---- in the zygote ----


def prepare() -> None:
    """Import what every worker needs, and no more: each page that the zygote has touched makes its forks slower."""
    import atexit  # noqa: F401
    import gc
    import os  # noqa: F401

    # It does nothing here, but libraries look whether it is there: mpi4py finds a pip-installed MPI only then.
    import site  # noqa: F401

    gc.freeze()


def rehearse() -> None:
    """Do once what each fork is about to do: it then finds it in the interpreter's caches, and copies fewer pages."""
    try:  # noqa: SIM105
        __import__("nothing_of_this_name")
    except ImportError:
        pass
    sys.stdout.flush()
    sys.stderr.flush()


def preload() -> None:
    """Import what unpickles functions by value."""
    import gc

    gc.disable()  # imports make much that stays: looking through it again and again takes a tenth of their time
    try:  # noqa: SIM105 - contextlib would be one more import
        import cloudpickle  # noqa: F401
    except ImportError:
        pass  # the setup may bring a path on which it is
    gc.enable()
    # What is there now stays for good: collections in workers need not look at it, nor copy its pages.
    gc.collect()
    gc.freeze()


def become_template(setup: bytes, modules: bytes) -> "tuple[str, ...] | bool":
    """Import, before forks, what calls import; returns the user's own modules that each fork is going to import.

    `modules` are pickled names of libraries and of the user's modules; None: what the heads of rank groups import.
    Returns False if an import did what forks cannot share: threads, processes, MPI.
    """
    import gc
    from _pickle import loads

    global _applied, _description
    names, own = loads(modules) or (None, ())
    _description = loads(setup)
    apply_setup(_description)
    if names is not None:
        enter_environment()
    _applied = setup
    gc.disable()
    usable = names is not None or load_mpi()
    for name in names or ():
        try:
            __import__(name)
        except BaseException:
            continue
    rehearse()
    gc.freeze()
    gc.enable()
    _core._fill_gaps()
    usable = usable and (names is None or "mpi4py.MPI" not in sys.modules) and can_fork()
    return own if usable else False


def is_set_up() -> bool:
    """Whether a fork of this template that gets the setup has nothing left to do, and need not ask."""
    _core._enter_worker(_description.get("cores", 0))
    return not _nests_flux and "init" not in _description


def can_fork() -> bool:
    """Whether there are neither threads nor processes that a fork would not have."""
    import os

    return len(os.listdir("/proc/self/task")) == 1 and not has_children()


def has_children() -> bool:
    import os

    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


# The setup that this process, or one that it was forked from, has become, and what it says.
_applied: "bytes | None" = None
_description: "dict[str, Any]" = {}


# ---- at the start of a worker ----


def own_part(items: "list[str]", rank: int, ranks: int) -> "list[str]":
    """What of a list that `ranks` processes share alike belongs to number `rank`; all of it if there is but one."""
    if ranks < 2:
        return items
    each = len(items) // ranks
    return items[rank * each : (rank + 1) * each]


def assign_devices(devices: "list[str]", rank: int, ranks: int) -> "list[str]":
    """The GPUs of one rank: its part of those of the call, each once even if it has several shares of it."""
    return list(dict.fromkeys(own_part(devices, rank, ranks)))


def launched_rank() -> "tuple[int, int]":
    """The number of this MPI rank and how many there are, as the launcher tells it: MPI is not to be started yet."""
    import os

    for rank, ranks in (("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"), ("PMI_RANK", "PMI_SIZE")):
        if rank in os.environ and ranks in os.environ:
            return int(os.environ[rank]), int(os.environ[ranks])
    raise RuntimeError("the launcher of MPI did not tell this rank its number, which its GPUs and processors go by")


def take_devices(text: bytes, is_rank: bool) -> None:
    """Let this process see its own GPUs only: the text has the variable that names them, then their names."""
    import os

    variable, *devices = os.fsdecode(text).split("\n")
    rank, ranks = launched_rank() if is_rank else (0, 1)
    _assigned[variable] = ",".join(assign_devices(devices, rank, ranks))
    # An executor in this process is to look at that variable.
    _assigned["EXECUTORLIB_GPUS"] = None
    change_environment(_assigned)


def take_cpus(text: bytes, is_rank: bool) -> None:
    """Bind this process, while it has one thread, and all that it starts to its own processors."""
    import os

    rank, ranks = launched_rank() if is_rank else (0, 1)
    try:  # noqa: SIM105 - contextlib would be one more import
        os.sched_setaffinity(0, [int(cpu) for cpu in own_part(text.decode().split("\n"), rank, ranks)])
    except OSError:
        pass  # they were taken from this program after it started: anywhere is better than nowhere


# What the engine has decided for this process; the driver's environment, which comes later, does not change it.
_assigned: "dict[str, str | None]" = {}


def change_environment(changes: "dict[str, str | None]") -> None:
    import os

    for name, value in changes.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def set_up(setup: bytes, index: int) -> "dict[str, Any]":
    """Become what the driver was when it took the setup; returns the initializer's presets."""
    global _description
    reseed()
    if setup != _applied:
        from _pickle import loads

        _description = loads(setup) if setup else {}
        apply_setup(_description)
        enter_environment()
    return begin(_description, index)


def own_flux(cores: int) -> None:
    """Give this process a Flux instance of its own."""
    import os
    from _frozen_importlib import _load  # type: ignore[attr-defined]
    from _frozen_importlib_external import spec_from_file_location

    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "_flux_nest.py")
    _load(spec_from_file_location("executorlib._flux_nest", path)).open_here(cores)


def begin(description: "dict[str, Any]", index: int) -> "dict[str, Any]":
    """Where this process is, calls may run: says so, and runs the initializer; returns its presets."""
    _core._enter_worker(description.get("cores", 0))
    if _nests_flux:
        own_flux(description.get("cores", 1))
    if "init" not in description:
        return {"executorlib_worker_id": index}
    from _pickle import loads

    return {"executorlib_worker_id": index, **call_initializer(loads(description["init"]), index)}


def enter_environment() -> None:
    """What is particular to the environment of a worker, once that of the driver is there."""
    import os

    global _nests_flux
    _nests_flux = bool(os.environ.pop("EXECUTORLIB_FLUX_NESTING", None))
    for name in _BINDING:
        os.environ.setdefault(name, "none")


_nests_flux = False


# Open MPI, 4 and later, binds what it starts to the first processors of the node, the same for all calls: what a call
# starts with it is to stay where the call may run instead. Options of its mpiexec come first.
_BINDING = ("OMPI_MCA_hwloc_base_binding_policy", "PRTE_MCA_hwloc_default_binding_policy")


# ---- MPI ranks ----


def plan_ranks(
    setup: bytes, launcher: bool, nodes: bytes = b""
) -> "tuple[int, list[bytes], bool, bytes | None, tuple | None]":
    """In the head of a rank group: become what the driver was.

    Returns how many ranks there are, the command that starts them, whether this process can fork them instead (never if
    `launcher`), what a template may import for it to be quicker, and what belongs to a step of a scheduler, if the
    ranks are one.
    """
    import os
    from _pickle import dumps, loads

    global _applied
    description = loads(setup)
    apply_setup(description)
    _applied = setup
    for name in list(os.environ):
        if name.startswith(description["inherited"]):
            del os.environ[name]
    for name, value in description["launch_environ"].items():
        os.environ.setdefault(name, value)
    step = description.get("step")
    if step is not None and step[0]:
        load_tls()
    was_there = "mpi4py.MPI" in sys.modules
    forks = description["forks"] and not launcher and load_mpi() and can_fork()
    command = [os.fsencode(argument) for argument in description["launch"]]
    if nodes:
        position, option = description["nodelist"]
        command.insert(position, option.encode() + nodes.replace(b"\n", b","))
    return description["ranks"], command, forks, dumps(None, 5) if forks and not was_there else None, step


def load_mpi() -> bool:
    """Import mpi4py and with it the MPI library, but do not start MPI: each fork does so for itself."""
    import os

    # mpi4py asks it where a library that pip has installed may be; it is not there in an interpreter that skipped it.
    import site  # noqa: F401

    variable = os.environ.pop("MPI4PY_RC_INITIALIZE", None)
    try:
        import mpi4py

        mpi4py.rc.initialize = False
        from mpi4py import MPI

        mpi4py.rc.initialize = True
        return not MPI.Is_initialized()
    except Exception:
        return False  # the launcher's ranks say why
    finally:
        if variable is not None:
            os.environ["MPI4PY_RC_INITIALIZE"] = variable


def become_rank(rank: int, ranks: int, descriptor: int, directory: str) -> None:
    """In a rank that its head has forked: what a launcher would have put into its environment."""
    import os

    global _is_forked_rank
    _is_forked_rank = True
    os.environ.update(
        PMI_RANK=str(rank),
        PMI_SIZE=str(ranks),
        PMI_FD=str(descriptor),
        MPI_LOCALRANKID=str(rank),
        MPI_LOCALNRANKS=str(ranks),
        EXECUTORLIB_RANKS=os.path.join(directory, "ranks:"),
    )


_is_forked_rank = False


def join_ranks(setup: bytes) -> int:
    """Start MPI where the driver is, and see that all ranks are there; returns the number of this one."""
    import os
    from _pickle import loads

    reseed()
    description = loads(setup)
    if setup != _applied:
        apply_setup(description)
    # The secret has served its purpose; ranks that this rank starts get another one.
    door = os.environ.pop("EXECUTORLIB_RANKS").rpartition(":")[0]
    for name, value in description["launch_environ"].items():
        if os.environ.get(name) == value:
            del os.environ[name]
    if description.get("flux"):
        enter_flux_job(description["threads"])
    if description["ranks"] == 1:
        return 0  # a plain process in a step of its own
    # See load_mpi().
    import site  # noqa: F401

    from mpi4py import MPI

    start_mpi()
    note_segments(os.path.dirname(door))
    size = MPI.COMM_WORLD.Get_size()
    if size != description["ranks"]:
        library = MPI.Get_library_version().splitlines()[0]
        starter = "its process manager" if _is_forked_rank else description["launcher"]
        raise RuntimeError(
            f"{starter} started {description['ranks']} MPI ranks, but mpi4py, which uses {library}, sees {size}"
        )
    return MPI.COMM_WORLD.Get_rank()


def load_tls() -> None:
    _core.provide_tls(load_own("_tls").api)


def set_door(value: str) -> None:
    """What a rank on the head's host has from the start."""
    import os

    os.environ["EXECUTORLIB_RANKS"] = value


def place() -> bytes:
    """Where this rank is, if it is in a step of a scheduler; for messages."""
    import os

    job = os.environ.get("FLUX_JOB_ID")
    if job is not None:
        return f"node {os.uname().nodename}, process {os.getpid()} of Flux job {job}".encode()
    step = os.environ.get("SLURM_STEP_ID")
    if step is None:
        return b""
    node = os.environ.get("SLURMD_NODENAME", os.uname().nodename)
    return f"node {node}, process {os.getpid()} of step {os.environ.get('SLURM_JOB_ID')}.{step}".encode()


def enter_flux_job(cores: int) -> None:
    """In a rank that Flux has started: what it starts with `flux run` is to have its cores, and not to wait for others.

    Before MPI starts, which may have threads; what it reads of the job stays until then.
    """
    import os

    of_the_job = {name: value for name, value in os.environ.items() if name != "FLUX_URI"}
    own_flux(cores)
    os.environ.update(of_the_job)


def set_up_rank(setup: bytes, index: int) -> "dict[str, Any]":
    """As set_up(), in a rank that has joined the others."""
    from _pickle import loads

    description = loads(setup)
    leave_job(description["job"])
    enter_environment()
    return begin(description, index)


def start_mpi() -> None:
    """Start MPI as its import does in a launcher's rank, where it was imported without."""
    import mpi4py
    from mpi4py import MPI

    if MPI.Is_initialized():
        return
    if mpi4py.rc.threads not in (True, "yes"):
        MPI.Init()
        return
    MPI.Init_thread(getattr(MPI, f"THREAD_{mpi4py.rc.thread_level}".upper(), MPI.THREAD_MULTIPLE))


def end_mpi() -> None:
    """End MPI as mpi4py does at the very end of an interpreter, which this process does not reach.

    Otherwise the library leaves its shared memory behind.
    """
    import mpi4py
    from mpi4py import MPI

    if MPI.Is_initialized() and not MPI.Is_finalized() and mpi4py.rc.finalize not in (False, "no"):
        MPI.Finalize()


def leave_job(names: "tuple[str, ...]") -> None:
    """Forget what the launcher said to MPI, once MPI has started: programs that this rank starts are not of the job.

    What libraries and users tell ranks apart by stays.
    """
    import os

    for name in list(os.environ):
        if name.startswith(names) and not name.startswith(("OMPI_COMM_WORLD_", "MPI_LOCAL")):
            del os.environ[name]


def note_segments(directory: str) -> None:
    """Link to MPICH's shared memory, which outlives ranks that are killed: it is removed with the directory."""
    import os

    with open("/proc/self/maps") as maps:
        names = {line.split()[5] for line in maps if "/dev/shm/mpich_" in line}
    for name in names:
        try:
            os.symlink(name, os.path.join(directory, os.path.basename(name)))
        except OSError:  # another rank has
            continue


def apply_setup(description: "dict[str, Any]") -> None:
    import os

    change_environment(description.get("environ", {}))
    change_environment(_assigned)
    # Before any library that reads them is imported; what the user has set stays.
    threads = description.get("threads")
    if threads:
        for name in THREAD_VARIABLES:
            os.environ.setdefault(name, str(threads))
    if "path" in description:
        sys.path[:] = description["path"]
    if "prefix" in description:
        sys.prefix, sys.exec_prefix = description["prefix"]
    if "argv" in description:
        sys.argv = description["argv"]
    if "cwd" in description:
        os.chdir(description["cwd"])
        global _home
        _home = description["cwd"]
    if "authkey" in description:
        from multiprocessing import current_process

        current_process().authkey = description["authkey"]


# Where relative paths of log files start; a call may go elsewhere.
_home = ""


def reseed() -> None:
    """No two workers draw the same random numbers. The standard library's generator sees to itself at the fork."""
    random = sys.modules.get("numpy.random")
    if random is not None:
        random.seed()


def call_initializer(function, index: int) -> "dict[str, Any]":
    import inspect

    try:
        takes_index = "executorlib_worker_id" in inspect.signature(function).parameters
    except (TypeError, ValueError):  # a built-in without a signature
        takes_index = False
    presets = function(executorlib_worker_id=index) if takes_index else function()
    if presets is not None and not isinstance(presets, dict):
        raise TypeError(f"init_function must return a dictionary, not {type(presets).__name__}")
    return presets or {}


_parameters: dict = {}


def bind(call: tuple, presets: "dict[str, Any]") -> tuple:
    """Fill parameters that the caller did not give from the presets; extra presets are ignored."""
    function, args, kwargs = call
    known = getattr(function, "__code__", function)
    try:
        names = _parameters.get(known)
    except TypeError:  # not hashable
        known = names = None
    if names is None:
        names = parameters_of(function)
        if known is not None:
            _parameters[known] = names
    positional, keyword_only = names
    given = set(positional[: len(args)])
    filled = {name: presets[name] for name in (*positional, *keyword_only) if name in presets and name not in given}
    return function, args, {**filled, **kwargs}


def parameters_of(function) -> "tuple[tuple[str, ...], tuple[str, ...]]":
    import inspect

    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return (), ()
    return (
        tuple(p.name for p in parameters if p.kind == p.POSITIONAL_OR_KEYWORD),
        tuple(p.name for p in parameters if p.kind == p.KEYWORD_ONLY),
    )


def cloudpickler() -> type:
    return load_own("_by_value").Pickler


def cached_anew(function, maxsize: "int | None", typed: bool):
    import functools

    return functools.lru_cache(maxsize, typed)(function)


cached_anew.__module__ = _ALIAS


# ---- when a call raised ----


def explain_result(error: BaseException, function, result) -> None:
    """Say in the error of pickling a result what of it was to blame."""
    try:
        culprit = load_own("_culprit")
    except ImportError:  # of cloudpickle, which is not everywhere
        return
    culprit.explain_result(error, function, result)


def dump_exception(exception: BaseException, call: "tuple | None", options: "bytes | None") -> bytes:
    """Pickled (exception, text of its traceback), in a form that is known to unpickle."""
    text = format_traceback(exception)
    if options is not None and call is not None:
        log_error(options, call, text)
    for attempt in (exception, Rebuilt(exception), Described(exception)):
        dumped = dump_checked(attempt, type(exception), text)
        if dumped is not None:
            return dumped
    from _pickle import dumps

    return dumps((RuntimeError(f"{type(exception).__name__}: the exception could not be pickled"), text), 5)


def format_traceback(exception: BaseException) -> str:
    import traceback

    try:
        return "".join(traceback.format_exception(type(exception), exception, exception.__traceback__))
    except BaseException:
        return f"{type(exception).__name__}: <its text could not be had>"


def dump_checked(value, kind: type, text: str) -> "bytes | None":
    from _pickle import dumps, loads

    try:
        try:
            dumped = dumps((value, text), 5)
            if b"__main__" in dumped:
                raise ValueError("a class of __main__ goes by value")
        except Exception:
            import cloudpickle

            dumped = cloudpickle.dumps((value, text), 5)
        loaded, _ = loads(dumped)
    except Exception:
        return None
    return dumped if type(loaded) is kind or isinstance(value, Described) else None


class Rebuilt:
    """Pickles an exception without its constructor, which may want other arguments than `args`."""

    def __init__(self, exception: BaseException):
        self.exception = exception

    def __reduce__(self):
        exception = self.exception
        state = {name: presentable(value) for name, value in vars(exception).items()}
        return rebuild, (type(exception), tuple(presentable(argument) for argument in exception.args), state)


def rebuild(kind: type, args: tuple, state: "dict[str, Any]") -> BaseException:
    exception = kind.__new__(kind, *args)
    exception.args = args
    vars(exception).update(state)
    return exception


rebuild.__module__ = _ALIAS


class Described:
    """Stands for an exception whose class cannot be pickled."""

    def __init__(self, exception: BaseException):
        self.exception = exception

    def __reduce__(self):
        try:
            text = str(self.exception)
        except Exception:
            text = "<its text could not be had>"
        return RuntimeError, (f"{type(self.exception).__name__}: {text}",)


def presentable(value):
    """The value, or its repr where it cannot be pickled; the exceptions of a group as they are rebuilt, too."""
    from _pickle import dumps

    if isinstance(value, BaseException):
        value = Rebuilt(value)
    elif isinstance(value, (list, tuple)) and any(isinstance(item, BaseException) for item in value):
        return [presentable(item) for item in value]
    try:
        dumps(value, 5)
    except Exception:
        return repr(value)
    return value


def log_error(options: bytes, call: tuple, text: str) -> None:
    import os
    from _pickle import loads

    path = loads(options).get("error_log_file")
    if not path:
        return
    function, args, kwargs = call
    entry = f"function: {function}\nargs: {args}\nkwargs: {kwargs}\n{text}"
    # One write to a file opened for appending: entries of several workers do not mix.
    log = open_log(path)
    os.write(log, entry.encode(errors="backslashreplace"))
    os.close(log)


def open_log(path: str) -> int:
    """A descriptor that appends to the file, made if missing; readable if allowed, since errors quote its end."""
    import os

    path = os.path.join(_home, path)
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    how = os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
    try:
        return os.open(path, how | os.O_RDWR, 0o666)
    except PermissionError:
        return os.open(path, how | os.O_WRONLY, 0o666)


# ---- around a call ----


def cache_entry(options: bytes, call: tuple):
    """What looks for the result of the call, and keeps it; None if it is not cached."""
    from _pickle import loads

    wanted = loads(options).get("cache")
    return None if wanted is None else load_own("_cache_entry").WorkerEntry(wanted, call)


def load_own(name: str):
    """A module of the package, from its file: the package itself would take longer to import than most calls."""
    import os
    from _frozen_importlib import _load  # type: ignore[attr-defined]
    from _frozen_importlib_external import spec_from_file_location

    full = "executorlib." + name
    if full in sys.modules:
        return sys.modules[full]
    path = os.path.join(os.path.dirname(__file__), name + ".py")
    if not os.path.exists(path):
        folder, core = os.path.split(str(_core.__file__))
        path = os.path.join(folder, name + core[len("_core") :])
    return _load(spec_from_file_location(full, path))


def open_output(options: bytes) -> "tuple[int, int]":
    """Descriptors of the files that take the call's stdout and stderr; -1 where it has none."""
    from _pickle import loads

    wanted = loads(options)
    paths = wanted.get("stdout_file"), wanted.get("stderr_file")
    if paths == (None, None):
        return -1, -1
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()  # what was printed before the call does not belong to it
    out = -1 if paths[0] is None else open_log(paths[0])
    try:
        return out, -1 if paths[1] is None else open_log(paths[1])
    except BaseException:
        if out >= 0:
            import os

            os.close(out)
        raise


class ImportWatch:
    """Among the finders of modules during a call whose imports are to be reported. It finds none.

    A call that changes the environment may do that for the sake of the imports that follow. What libraries change
    after the last one, as PyTorch does once it uses a GPU, is for nobody's import.
    """

    def __init__(self) -> None:
        import os

        self._environ = os.environ._data  # type: ignore[attr-defined]
        self._at_start = dict(self._environ)
        self.environment_changed = False

    def find_spec(self, name, path=None, target=None) -> None:
        self.environment_changed = self.environment_changed or self._environ != self._at_start


_import_watch: "ImportWatch | None" = None


def watch_imports() -> None:
    global _import_watch
    _import_watch = ImportWatch()
    sys.meta_path.insert(0, _import_watch)


def importable_since(nmodules: int, function) -> bytes:
    """Pickled names of the modules that a template may import before the call does, and of the function's own.

    Only libraries are imported before forks: a module of the user may do at import what each process is to do for
    itself, such as seeding a generator. Nothing if the call changed the environment before an import.
    Empty if there are none.
    """
    import itertools
    from _pickle import dumps

    if _import_watch not in sys.meta_path or _import_watch.environment_changed:
        return b""
    libraries = library_directories()
    new = dict(itertools.islice(list(sys.modules.items()), nmodules, None))
    names = [name for name, module in new.items() if (getattr(module, "__file__", None) or "").startswith(libraries)]
    own = packages_of(function, new)
    if any(name in names or name not in new for name in own):
        own = ()
    return dumps((names, own), 5) if names or own else b""


def packages_of(function, modules: dict) -> "tuple[str, ...]":
    """The names of the packages around the module of a function, and its own; none if it goes by value."""
    name = getattr(function, "__module__", None)
    if getattr(modules.get(name), getattr(function, "__name__", ""), None) is not function:
        return ()
    parts = str(name).split(".")
    return tuple(".".join(parts[:count]) for count in range(1, len(parts) + 1))


def library_directories() -> "tuple[str, ...]":
    """Of the standard library and of installed packages, with a separator at the end."""
    import os

    return tuple(os.path.join(entry, "") for entry in {*sys.path, os.path.dirname(os.__file__)} if is_library(entry))


def is_library(directory: str) -> bool:
    import os

    if directory == os.path.dirname(os.__file__):
        return True
    return os.path.basename(directory) in ("site-packages", "dist-packages", "lib-dynload")
