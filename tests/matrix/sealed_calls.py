"""Everyday calls of Dask, run by a client in an environment of its own; prints one JSON object {name: outcome}.

``python sealed_calls.py ADDRESS SEAL_TEXT|- [NAME …]``. With a text, the client's graphs are sealed, and those of workers.
An outcome is ``ok``, ``wrong: …`` or the kind and the beginning of what was raised.
"""

import asyncio
import collections
import dataclasses
import json
import pickle
import sys
import time
import traceback
from pathlib import Path

import dask
import dask.array as da
import dask.bag as db
import distributed
import numpy as np
import pandas as pd
from distributed import (
    Client,
    Event,
    Lock,
    Queue,
    Variable,
    as_completed,
    fire_and_forget,
    get_client,
    performance_report,
    wait,
    worker_client,
)

dask.config.set({"dataframe.convert-string": False})
import dask.dataframe as dd  # noqa: E402

SECONDS = 60
CALLS = {}


def call(want=None):
    def add(function):
        CALLS[function.__name__] = (function, want)
        return function

    return add


class Total:
    def __init__(self, values):
        self.values = values

    def total(self):
        return float(self.values.sum())


@dataclasses.dataclass
class Pair:
    first: object
    second: object


Two = collections.namedtuple("Two", "x y")  # noqa: PYI024 - as users write it
frame = pd.DataFrame({"a": np.arange(1000) % 7, "b": np.arange(1000.0), "s": ["x", "y"] * 500})


def frames(parts=5):
    return dd.from_pandas(frame, npartitions=parts)


def boom(values, marker=1):
    raise ValueError("my own message")


def of(future):
    return future.result(timeout=SECONDS)


def state_of(client, key, text):
    """Return the value of an expression of a task's state `t`; only text crosses."""
    text = f"[{text} for s in __import__('distributed').Scheduler._instances for t in [s.tasks.get(K)] if t][0]"
    return client.run_on_scheduler(eval, text, {"K": key})


@call(45)
def submit(c):
    return int(of(c.submit(np.sum, np.arange(10))))


@call(3825.0)
def map_with_lambda(c):
    return float(sum(c.gather(c.map(lambda a: a.sum(), [np.ones(3) + i for i in range(50)]))))


@call(4.0)
def class_of_main(c):
    return of(c.submit(lambda it: it.total(), Total(np.ones(4))))


@call(15.0)
def chain(c):
    return float(of(c.submit(np.add, c.submit(np.arange, 5), np.ones(5))).sum())


@call(49.5)
def scatter(c):
    return float(of(c.submit(np.mean, c.scatter(np.arange(100)))))


@call(49.5)
def scatter_to_all(c):
    return float(of(c.submit(np.mean, c.scatter(np.arange(100), broadcast=True))))


@call(2.0)
def delayed(c):
    return float(dask.delayed(np.linalg.norm)(np.eye(4)).compute())


@call(12.0)
def delayed_pure(c):
    return float(dask.delayed(np.sum, pure=True)(np.ones(12)).compute())


@call(3.0)
def delayed_method(c):
    return dask.delayed(Total)(np.ones(3)).total().compute()


@call(3.0)
def delayed_dataclass(c):
    return float(dask.delayed(lambda it: it.first.sum())(Pair(dask.delayed(np.ones)(3), 1)).compute())


@call(400.0)
def array(c):
    return float((da.ones((400, 400), chunks=100) @ np.ones((400, 1))).mean().compute())


@call(True)
def array_random(c):
    return bool(0 < da.random.RandomState(0).random_sample((200, 200), chunks=50).mean().compute() < 1)


@call(10.0)
def array_indexed_by_numpy(c):
    return float(da.ones((10, 10), chunks=5)[np.int64(3)].sum().compute())


@call(10.0)
def array_of_numpy_shape(c):
    return float(da.ones((np.int64(10),), chunks=np.int64(5)).sum().compute())


@call(499500.0)
def groupby(c):
    return float(frames().groupby("a").b.sum().compute().sum())


def by_tasks():
    return dask.config.set({"dataframe.shuffle.method": "tasks", "array.rechunk.method": "tasks"})


def by_p2p():
    return dask.config.set(
        {"dataframe.shuffle.method": "p2p", "array.rechunk.method": "p2p", "optimization.fuse.active": False}
    )


@call(1000)
def shuffle_by_tasks(c):
    with by_tasks():
        return len(frames().shuffle("a").compute())


@call(1000)
def merge_by_tasks(c):
    with by_tasks():
        return len(frames().merge(frames(4), on="b").compute())


@call(10000.0)
def rechunk_by_tasks(c):
    with by_tasks():
        return float(da.ones((100, 100), chunks=(10, 100)).rechunk((100, 10)).sum().compute())


@call(1000)
def shuffle_by_p2p(c):
    with by_p2p():
        return len(of(c.compute(frames().shuffle("a"))))


@call(1000)
def merge_by_p2p(c):
    with by_p2p():
        return len(of(c.compute(frames().merge(frames(4), on="b"))))


@call(10000.0)
def rechunk_by_p2p(c):
    with by_p2p():
        return float(of(c.compute(da.ones((100, 100), chunks=(10, 100)).rechunk((100, 10)).sum())))


@call(200)
def partition_by_number(c):
    return len(frames().partitions[1].compute())


@call(2000.0)
def persist(c):
    return float((da.ones(1000, chunks=100) + 1).persist().sum().compute())


@call(2000.0)
def persist_as_it_is(c):
    return float(of(c.compute(c.persist(da.ones(1000, chunks=100) + 1, optimize_graph=False).sum())))


@call(100.0)
def compute_by_scheduler_argument(c):
    return float(da.ones(100, chunks=10).sum().compute(scheduler=c))


@call(190.0)
def completed_in_turn(c):
    return float(sum(f.result() for f in as_completed(c.map(np.sqrt, [np.float64(i * i) for i in range(20)]))))


@call("ValueError")
def kind_of_error(c):
    return type(c.submit(boom, np.ones(2)).exception(timeout=SECONDS)).__name__


@call(["boom"])
def traceback_of_error(c):
    future = c.submit(boom, np.ones(2), marker=3)
    wait(future, timeout=SECONDS)
    return [entry.name for entry in traceback.extract_tb(future.traceback())]


def annotated(c, **notes):
    with dask.annotate(**notes):
        future = c.submit(lambda a: a.sum(), np.ones(3) + len(str(notes)))
    of(future)
    return [state_of(c, future.key, "t.priority[0]"), state_of(c, future.key, "t.retries")]


@call([-5, 2])
def annotation(c):
    return annotated(c, priority=5, retries=2)


@call([-7, 0])
def annotation_by_function(c):
    return annotated(c, priority=lambda key: 7)


@call({"ones": [-9, "red"], "add": [0, None]})
def annotations_of_layers(c):
    with dask.annotate(priority=9, color="red"):
        x = da.ones(10, chunks=5)
    y = c.persist(x + 1, optimize_graph=False)
    wait(y)
    text = "__import__('json').dumps([[str(t.key), t.priority[0], (t.annotations or {}).get('color')] "
    text += "for s in __import__('distributed').Scheduler._instances for t in s.tasks.values()])"
    found = {}
    for key, priority, color in json.loads(c.run_on_scheduler(eval, text)):
        for name in ("ones", "add"):
            if name in key.partition("-")[0] and key.startswith("('"):
                found[name] = [priority, color]
    return found


@call(8.0)
def arguments_of_submit(c):
    worker = next(iter(c.scheduler_info()["workers"]))
    options = {"retries": 2, "priority": 3, "workers": [worker], "allow_other_workers": True}
    return float(of(c.submit(np.sum, np.ones(8), **options)))


@call(9.0)
def resources(c):
    return float(of(c.submit(np.sum, np.ones(9), resources={"R": 1})))


def _tasks_of_a_task(n):
    inner = get_client()
    return int(sum(inner.gather(inner.map(np.sum, [np.ones(n)] * 3))))


def _task_of_a_task(n):
    with worker_client() as inner:
        return int(inner.submit(np.sum, np.ones(n)).result())


def _compute_in_a_task(n):
    with worker_client():
        return int(da.ones(n, chunks=2).sum().compute())


@call(12)
def get_client_in_a_task(c):
    return of(c.submit(_tasks_of_a_task, 4))


@call(4)
def worker_client_in_a_task(c):
    return of(c.submit(_task_of_a_task, 4))


@call(6)
def compute_in_a_task(c):
    return of(c.submit(_compute_in_a_task, 6))


@call(9.0)
def actor(c):
    return of(c.submit(Total, np.ones(9), actor=True)).total().result()


async def _later(a):
    await asyncio.sleep(0.01)
    return a.sum()


@call(5.0)
def asynchronous_task(c):
    return float(of(c.submit(_later, np.ones(5))))


@call(6.0)
def asynchronous_task_by_name(c):
    return float(of(c.submit(_later, a=np.ones(6))))


@call(4.0)
def future_by_name(c):
    return float(of(c.submit(np.sum, a=c.submit(np.ones, 4))))


@call(9.0)
def futures_in_containers(c):
    a = c.submit(np.ones, 3)
    add = lambda d, parts: d["x"].sum() + parts[0][0].sum() + d["y"][0].sum()  # noqa: E731
    return float(of(c.submit(add, {"x": a, "y": (a,)}, [[a]])))


@call(5.0)
def future_in_a_named_tuple(c):
    return float(of(c.submit(lambda n: n.x.sum() + n.y.sum(), Two(c.submit(np.ones, 3), np.ones(2)))))


@call(["Future", 2.0])
def future_in_a_dataclass(c):
    ask = lambda pair: [type(pair.first).__name__, float(pair.second.sum())]  # noqa: E731
    return of(c.submit(ask, Pair(c.submit(np.ones, 3), np.ones(2))))


@call([8.0])
def graph_by_hand(c):
    graph = {"x": (np.ones, 4), "y": (np.sum, "x"), ("z", 0): (lambda a, b: a + b[0], "y", ["y"])}
    return [float(value) for value in c.get(graph, [("z", 0)])]


@call(2.0)
def numpy_in_keys(c):
    return float(c.get({("k", np.int64(0)): (np.sum, np.ones(2)), "z": (np.sum, [("k", np.int64(0))])}, "z"))


@call(7.0)
def numpy_in_keys_of_submit(c):
    key = ("mine", np.int64(7))
    future = c.submit(np.sum, np.ones(7), key=key)
    return float(of(c.submit(np.add, future, 0)))


@call(["tuple", "list", "dict", "set"])
def containers_as_they_are(c):
    kinds = lambda *a: [type(x).__name__ for x in a]  # noqa: E731
    return of(c.submit(kinds, (np.ones(1), 2), [(np.float64(1), 3)], {np.int64(1): 2}, {np.int64(3)}))


@call(20.0)
def bag(c):
    return float(sum(db.from_sequence([np.ones(2)] * 10, npartitions=3).map(np.sum).compute()))


@call(3)
def bag_by_key(c):
    return len(db.from_sequence(range(30), npartitions=3).foldby(lambda x: x % 3, lambda a, b: a + b, 0).compute())


@call(40.0)
def published(c):
    c.publish_dataset(mine=(da.ones(20, chunks=10) + 1).persist())
    try:
        return float(c.get_dataset("mine").sum().compute())
    finally:
        c.unpublish_dataset("mine")


@call(True)
def cancel(c):
    future = c.submit(lambda a: time.sleep(5), np.ones(1))
    time.sleep(0.3)
    future.cancel()
    time.sleep(0.3)
    return future.cancelled()


@call(["error", 3.0])
def retry(c):
    Variable("flaky").set(0)

    def flaky(a):
        if Variable("flaky").get(timeout=SECONDS) == 0:
            raise RuntimeError("first")
        return a.sum()

    future = c.submit(flaky, np.ones(3))
    wait(future, timeout=SECONDS)
    status = future.status
    Variable("flaky").set(1)
    future.retry()
    return [status, float(of(future))]


@call(4)
def forgotten(c):
    Variable("forgotten").set(0)
    fire_and_forget(c.submit(lambda a: Variable("forgotten").set(int(a.sum())), np.ones(4)))
    end = time.monotonic() + SECONDS
    while Variable("forgotten").get(timeout=SECONDS) != 4 and time.monotonic() < end:
        time.sleep(0.1)
    return Variable("forgotten").get(timeout=SECONDS)


@call([6.0, 6.0])
def under_a_lock(c):
    queue = Queue("sums")

    def locked(a):
        with Lock("one"):
            Queue("sums").put(float(a.sum()))
        return float(a.sum())

    total = sum(c.gather(c.map(locked, [np.ones(n) for n in (1, 2, 3)])))
    return [total, sum(queue.get(timeout=SECONDS) for _ in range(3))]


@call(2.0)
def after_an_event(c):
    def waiting(a):
        Event("go").wait(timeout=SECONDS)
        return float(a.sum())

    future = c.submit(waiting, np.ones(2))
    Event("go").set()
    return of(future)


@call(2)
def run_on_workers(c):
    return len(c.run(lambda: np.ones(1)))


@call(True)
def spans(c):
    if not hasattr(distributed, "span"):
        return True
    with distributed.span("mine"):
        future = c.submit(np.sum, np.ones(13))
    of(future)
    return "mine" in str(state_of(c, future.key, "str((t.annotations or {}).get('span'))"))


@call(True)
def report(c):
    with performance_report("report.html"):
        of(c.submit(np.sum, np.ones(21)))
    return True


@call(["mykey", "ones"])
def prefixes(c):
    wait(c.compute(da.ones(40, chunks=10).sum(), optimize_graph=False), timeout=SECONDS)
    kept = c.map(np.sqrt, range(3), key="mykey")
    wait(kept, timeout=SECONDS)
    text = "sorted({n for s in __import__('distributed').Scheduler._instances for n in s.task_prefixes})"
    names = c.run_on_scheduler(eval, text)
    return [name for name in ("mykey", "ones") if any(name in one for one in names)]


@call([31.0, 5.0])
def two_clients(c):
    with Client(c.scheduler.address, set_as_default=False) as other:
        one = of(c.submit(np.sum, np.ones(31), key="shared"))
        two = of(other.submit(np.sum, other.submit(np.ones, 5, key="shared-2")))
        assert of(other.submit(np.sum, np.ones(31), key="shared")) == one
        return [float(one), float(two)]


@call(41.0)
def asynchronous_client(c):
    async def go():
        async with Client(c.scheduler.address, asynchronous=True, set_as_default=False) as other:
            return float(await other.submit(np.sum, np.ones(41)))

    return asyncio.run(go())


def seal(client, text):
    namespace = {"__name__": "seal"}
    exec(compile(text, "<seal>", "exec"), namespace)
    told = json.loads(namespace["change"](client._scheduler_identity["id"], True))
    assert not told["error"], told

    class Made:
        def __reduce__(self):
            return eval, ("(exec(S, G), G['plugin']())[1]", {"S": text, "G": {"__name__": "seal"}})

    options = {"plugin": pickle.dumps(Made(), protocol=4), "name": "coiled-jupyter-seal"}
    if distributed.__version__ >= "2024":
        options["idempotent"] = False

    async def register():
        await client.scheduler.register_worker_plugin(**options)

    client.sync(register)
    return namespace["change"]


def main(address, text, names):
    client = Client(address)
    client.wait_for_workers(2)
    change = None
    if text != "-":
        change = seal(client, Path(text).read_text())
    outcomes = {}
    for name, (function, want) in CALLS.items():
        if names and name not in names:
            continue
        try:
            got = function(client)
            outcomes[name] = "ok" if got == want else f"wrong: {got!r:.100} instead of {want!r:.100}"
        except Exception as error:  # noqa: BLE001 - whatever a call raises is its outcome
            outcomes[name] = f"{type(error).__name__}: {str(error)[:300]}"
    if change is not None:
        change("*", False)
        outcomes["unsealed"] = "wrong" if hasattr(Client._graph_to_futures, "unsealed") else "ok"
    print("OUTCOMES " + json.dumps(outcomes), flush=True)
    text = "sorted({'numpy', 'pandas', 'pyarrow'} & set(__import__('sys').modules))"
    print("SCHEDULER " + json.dumps(client.run_on_scheduler(eval, text)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
