"""Seals the graphs that Dask clients of this process send, so that their scheduler needs none of the user's packages.

Since 2023.4 a scheduler unpickles each graph that a client sends, and pickles each task again for a worker. A sealed client
computes the whole graph itself, and sends every leaf of it that is neither Dask's nor a builtin (a function, an array, an
object) as an opaque leaf: bytes, held by an object of the standard library that pickles as ``pickle.loads(bytes)``. The
scheduler keeps the bytes, and sees keys, dependencies and annotations; the worker unpickles the leaf itself, in the task
that a plain client would have sent. Nothing of this text is needed by the scheduler or the worker for that.

``change`` seals the clients of one scheduler (its id), those of the future too, or ends that; whichever it is, what the
scheduler could not unpickle so far can be sent again. ``plugin`` seals all clients of a worker's process, which are those of
tasks.

Rules: Python 3.8, standard library and the process's own Dask only. ``change`` never raises. A graph that can't be sealed
isn't sent: that raises a TypeError, which says why, where the user's code has sent it.
"""

import contextlib
import functools
import inspect
import io
import json
import operator
import pickle
import sys
import types
import uuid

KEY = "_coiled_jupyter_seal"
ALL = "*"
NAME = "coiled-jupyter-seal"
# Modules of whose classes the scheduler gets the objects as they are, with sealed parts.
_OPEN = {
    "dask._task_spec",
    "dask._expr",
    "dask.highlevelgraph",
    "dask.optimization",
    "distributed.client",
    "distributed.utils_comm",
    "distributed.shuffle._core",
    "distributed.shuffle._rechunk",
    "distributed.shuffle._shuffle",
}
# Modules of which functions and classes are sent by their names.
_NAMED = _OPEN | {"builtins", "_operator", "_pickle", "functools", "contextlib", "dask.core", "dask.utils"}
_ATOMS = (slice, range, complex, bytearray, type(...))
_FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType)
_IN_KEYS = (str, bytes, int, float, bool, type(None))
_SHUFFLES = "distributed.shuffle"
_REFUSED = "deserialization of the task graph"


class _Table:
    """The callable ``values[key]``; pickles by builtins."""

    def __init__(self, values):
        self.values = values

    def __call__(self, key):
        return self.values[key]

    def __reduce__(self):
        return functools.partial, (operator.getitem, self.values)


def _opaque(leaf):
    """Return how a leaf pickles: as bytes for the process that unpickles it, and as itself for the next one."""
    from distributed.protocol.pickle import dumps

    data = dumps(leaf)
    again = {"__reduce_ex__": _Table(dict.fromkeys(range(2, 6), (pickle.loads, (data,))))}
    if callable(leaf):
        # A tuple that begins with a callable is a task, in the graphs of Dask before 2024.12.
        return functools.partial, (pickle.loads, data), (pickle.loads, (data,), {}, again)
    return contextlib.nullcontext, (data,), again


class _Pickler(pickle.Pickler):
    """Pickles a graph with opaque leaves."""

    def __init__(self, file, node, future):
        super().__init__(file, protocol=5)
        self._node, self._future = node, future

    def reducer_override(self, value):
        if isinstance(value, (type, *_FUNCTIONS)):
            module = value.__module__
            named = module in _NAMED and "<" not in value.__qualname__
            return NotImplemented if named and self._importable(value, module) else _opaque(value)
        kind = type(value)
        if kind.__module__.startswith(_SHUFFLES) and kind.__name__.endswith("Spec"):
            # Its own way of pickling may be the one that seals it.
            return object.__reduce_ex__(value, 5)
        if kind.__module__ in _OPEN or isinstance(value, (*_ATOMS, _Table)):
            return NotImplemented
        if self._node is not None and isinstance(value, self._node):
            raise TypeError(
                "This graph can't be sent sealed: %s.%s is no kind of task that Dask has, so what it depends on would be "
                "hidden from the scheduler" % (kind.__module__, kind.__qualname__)
            )
        named_tuple = self._node is None and isinstance(value, tuple) and hasattr(kind, "_fields")
        if named_tuple and any(isinstance(part, self._future) for part in value):
            # Dask before 2024.12 finds futures in named tuples; a task that makes the tuple keeps them visible.
            return tuple, ([kind, *value],)
        return _opaque(value)

    def _importable(self, value, module):
        # The shuffle's modules have functions that need pandas; their classes are what the scheduler works with.
        return isinstance(value, type) or not module.startswith(_SHUFFLES)


def _pickled(graph):
    future = sys.modules["distributed.client"].Future
    node = getattr(sys.modules.get("dask._task_spec"), "GraphNode", None)
    file = io.BytesIO()
    _Pickler(file, node, future).dump(graph)
    return file.getvalue()


def _clean(key):
    """Return an equal key of builtins only, which any scheduler can unpickle."""
    if type(key) in _IN_KEYS:
        return key
    if type(key) is tuple:
        return tuple(map(_clean, key))
    plain = key.item() if type(key).__module__ == "numpy" and hasattr(key, "item") else key
    if type(plain) not in _IN_KEYS or plain != key or hash(plain) != hash(key):
        raise TypeError(
            "The key part %.80r can't be sent sealed, because the scheduler doesn't know its type %s.%s: use text and "
            "numbers in keys" % (key, type(key).__module__, type(key).__qualname__)
        )
    return plain


def _is_clean(key):
    return type(key) in _IN_KEYS or (type(key) is tuple and all(map(_is_clean, key)))


def _renamed(graph):
    """Return a graph whose keys have builtin parts only: the same graph, in nearly every case."""
    foreign = {key: _clean(key) for key in graph if not _is_clean(key)}
    if not foreign:
        return graph
    if "dask._task_spec" not in sys.modules:
        return {foreign.get(key, key): _swapped(task, foreign) for key, task in graph.items()}
    # By way of other keys: a key that is equal already would not be substituted.
    between = {key: "coiled-jupyter-%d" % number for number, key in enumerate(foreign)}
    after = {between[key]: plain for key, plain in foreign.items()}
    found = {}
    for key, node in graph.items():
        if not hasattr(node, "substitute"):
            found[foreign.get(key, key)] = _swapped(node, foreign)
            continue
        first, last = between.get(key, key), foreign.get(key, key)
        found[last] = node.substitute(between, key=first).substitute(after, key=last)
    return found


def _swapped(task, foreign):
    if type(task) in (list, tuple):
        try:
            if type(task) is tuple and task in foreign:
                return foreign[task]
        except Exception:
            # Arguments that can't be hashed or compared are no keys.
            pass
        return type(task)(_swapped(part, foreign) for part in task)
    if type(task) is dict:
        return {key: _swapped(part, foreign) for key, part in task.items()}
    return task


def _tables(notes, keys):
    """Return annotations in which each callable, called by the scheduler with a key, is a table of what it returns."""
    return {name: _Table({key: note(key) for key in keys}) if callable(note) else note for name, note in notes.items()}


def _sealed(graph):
    """Return the bytes to send in place of a graph, and its keys."""
    if hasattr(graph, "__dask_annotations__"):
        # Expressions, since 2025.4. The annotations are tables by key already.
        from dask._expr import HLGExpr, LLGExpr

        layer, notes = _renamed(dict(graph.__dask_graph__())), graph.__dask_annotations__()
        if any(notes.values()):
            from dask.highlevelgraph import HighLevelGraph, MaterializedLayer

            # One layer for the tasks that have the same annotations, since a layer's hold for all of its tasks.
            parts = {}
            for key, task in layer.items():
                parts.setdefault(tuple(name for name, values in notes.items() if key in values), {})[key] = task
            layers = {}
            for names, tasks in parts.items():
                tables = {name: _Table({key: notes[name][key] for key in tasks}) for name in names}
                layers["sealed-%d" % len(layers)] = MaterializedLayer(tasks, annotations=tables)
            return _pickled(HLGExpr(HighLevelGraph(layers, {name: set() for name in layers}))), layer
        # With a name of its own, or Dask would compute one from every task.
        return _pickled(LLGExpr(layer, _determ_token=uuid.uuid4().hex)), layer
    import copy

    from dask.highlevelgraph import HighLevelGraph, MaterializedLayer

    layers, keys = {}, []
    for name, layer in getattr(graph, "layers", {"sealed": graph}).items():
        _check(layer)
        notes = getattr(layer, "annotations", None) or {}
        # A copy: the client's own layer may not be materialized.
        tasks = _renamed(dict(copy.copy(layer)))
        keys += tasks
        layers[name] = MaterializedLayer(tasks)
        # Given to its constructor, none would mean those of `dask.annotate`.
        layers[name].annotations = _tables(notes, tasks) or None
    return _pickled(HighLevelGraph(layers, {name: set() for name in layers})), keys


def _check(layer):
    """Refuse what can't be sealed with this Dask."""
    if type(layer).__module__.startswith(_SHUFFLES) and not _has_specs():
        raise TypeError(
            "A peer-to-peer shuffle can't be sent sealed with this Dask: use "
            "dask.config.set({'dataframe.shuffle.method': 'tasks', 'array.rechunk.method': 'tasks'})"
        )


def _has_specs():
    try:
        from distributed.shuffle._core import ShuffleSpec
    except ImportError:
        return False
    return ShuffleSpec is not None


def _class():
    """Return the class of which a sealed graph is sent as an instance; older clients ask for a HighLevelGraph."""
    from dask.highlevelgraph import HighLevelGraph

    def hold(self, data):
        self.data = data

    def reduce(self):
        return pickle.loads, (self.data,)

    return type("Sealed", (HighLevelGraph,), {"__init__": hold, "__reduce__": reduce})


def _state():
    """Return what is sealed in this process, kept outside of this text so that another version of it can end that."""
    known = sys.modules.get(KEY)
    if known is None:
        known = types.ModuleType(KEY)
        known.schedulers = set()
        known = sys.modules.setdefault(KEY, known)
    return known


def _begin(client):
    """Have the class of clients seal what goes to the schedulers of `_state`."""
    send = client._graph_to_futures
    if hasattr(send, "unsealed"):
        return
    known, kind = _state(), _class()
    graph_name, keys_name = list(inspect.signature(send).parameters)[1:3]

    @functools.wraps(send)
    def sending(self, *args, **kwargs):
        identity = getattr(self, "_scheduler_identity", None) or {}
        if ALL not in known.schedulers and identity.get("id") not in known.schedulers:
            return send(self, *args, **kwargs)
        import dask

        given = dict(zip((graph_name, keys_name), args), **kwargs)  # noqa: B905 - Python 3.8
        data, tasks = _sealed(given[graph_name])
        notes = {name: note for name, note in _annotations().items() if callable(note)}
        given.update({graph_name: kind(data), keys_name: [_clean(key) for key in given[keys_name]]})
        if given.get("internal_priority"):
            given["internal_priority"] = {_clean(key): value for key, value in given["internal_priority"].items()}
        with dask.annotate(**_tables(notes, tasks)) if notes else contextlib.nullcontext():
            return send(self, given.pop(graph_name), given.pop(keys_name), *args[2:], **given)

    sending.unsealed = send
    client._graph_to_futures = sending


def _annotations():
    import dask

    if hasattr(dask, "get_annotations"):
        return dask.get_annotations()
    return dask.config.get("annotations", None) or {}


def _end(client):
    unsealed = getattr(client._graph_to_futures, "unsealed", None)
    if unsealed is not None:
        client._graph_to_futures = unsealed


def _client():
    """Return the class of Dask's clients, or why what they send can't be sealed."""
    try:
        from distributed.client import Client
    except ImportError:
        return None, "distributed isn't installed there"
    # Before 2023.4 a scheduler unpickles no graph, so there is nothing to seal.
    if list(inspect.signature(Client._graph_to_futures).parameters)[1:3] not in (["dsk", "keys"], ["expr", "keys"]):
        return None, "its Dask sends graphs in a way that isn't known here"
    return Client, ""


def _forget_refused(scheduler):
    """Have clients forget the tasks whose graph their scheduler could not unpickle.

    A future that something still holds, such as the traceback of the cell that failed, is what Dask returns for the same call
    again, with its old error. The scheduler has never known these tasks.
    """
    client = getattr(sys.modules.get("distributed.client"), "Client", None)
    for one in list(getattr(client, "_instances", ())):
        identity = getattr(one, "_scheduler_identity", None) or {}
        if scheduler in (ALL, identity.get("id")):
            for key, state in list(one.futures.items()):
                error = getattr(state, "exception", None)
                if type(error) is RuntimeError and _REFUSED in str(error):
                    one.futures.pop(key, None)


def change(scheduler, seal):
    """Seal what clients of this scheduler (its id) send from now on, or end that; of all if `scheduler` is ``*``.

    Returns JSON: ``{"sealed": [id, …], "error": text}``.
    """
    error = ""
    try:
        known = _state()
        if seal:
            client, error = _client()
            if client is not None:
                _begin(client)
                known.schedulers.add(scheduler)
        else:
            known.schedulers.difference_update(list(known.schedulers) if scheduler == ALL else [scheduler])
            client = getattr(sys.modules.get("distributed.client"), "Client", None)
            if not known.schedulers and client is not None:
                _end(client)
        _forget_refused(scheduler)
        return json.dumps({"sealed": sorted(known.schedulers), "error": error})
    except BaseException as fault:
        return json.dumps({"sealed": [], "error": "it could not be sealed: " + type(fault).__name__})


def _shuffles(seal):
    """Seal the description of a shuffle, which workers before 2024.12 send to the scheduler themselves."""
    if "dask._task_spec" in sys.modules or not _has_specs():
        return
    from distributed.shuffle._core import ShuffleSpec

    if not seal:
        if "__reduce_ex__" in vars(ShuffleSpec):
            del ShuffleSpec.__reduce_ex__
        return
    ShuffleSpec.__reduce_ex__ = lambda spec, protocol: (pickle.loads, (_pickled(spec),))


def plugin():
    """Return the plugin that seals the clients of the tasks of every worker."""
    from distributed.diagnostics.plugin import WorkerPlugin

    def setup(self, worker):
        try:
            change(ALL, True)
            _shuffles(True)
        except BaseException:
            # A reading of the worker tells whether it is sealed.
            return

    def teardown(self, worker):
        try:
            change(ALL, False)
            _shuffles(False)
        except BaseException:
            # A reading of the worker tells whether it is sealed.
            return

    return type("Seal", (WorkerPlugin,), {"setup": setup, "teardown": teardown, "name": NAME})()
