"""Run by a client in an environment of its own: what a notebook would do, each act told as one line of JSON."""

import json
import sys
import warnings

SECONDS = 6


def call(client):
    return client.submit(lambda x: x + 1, 1).result(SECONDS)


def many(client):
    total = client.submit(sum, client.map(lambda x: x * 2, range(20)))
    return total.result(SECONDS)


def text(client):
    # Long enough for a message to be compressed where both sides can.
    return len(client.submit(lambda s: s * 2, "a" * 200_000).result(SECONDS))


def broadcast(client):
    # Long enough for a message to be compressed.
    return len(client.scatter("a" * 400_000, broadcast=True).result(SECONDS))


def array_there(client):
    import numpy

    return client.submit(lambda a: int(a.sum()), numpy.arange(5)).result(SECONDS)


def array_back(client):
    def make():
        import numpy

        return numpy.arange(5)

    return int(client.submit(make).result(SECONDS).sum())


def array_function(client):
    import numpy

    return int(client.submit(numpy.add, 1, 2).result(SECONDS))


def frame_there(client):
    import pandas

    frame = pandas.DataFrame({"a": [1, 2], "b": ["x", "y"]})
    return client.submit(lambda f: int(f["a"].sum()), frame).result(SECONDS)


def frame_back(client):
    def make():
        import pandas

        return pandas.DataFrame({"a": [1, 2], "b": ["x", "y"], "c": pandas.date_range("2020", periods=2)})

    return int(client.submit(make).result(SECONDS)["a"].sum())


def package_used(client):
    import more_itertools

    return client.submit(more_itertools.take, 2, [1, 2, 3]).result(SECONDS)


def package_unused(client):
    import more_itertools  # noqa: F401

    return client.submit(lambda x: x + 1, 1).result(SECONDS)


def module_used(client):
    import helpers

    return client.submit(helpers.answer).result(SECONDS)


def module_inside(client):
    import helpers

    return client.submit(lambda: helpers.answer()).result(SECONDS)


def package_new(client):
    def new():
        import more_itertools

        return list(more_itertools.constrained_batches(["a", "b"], 1))

    return len(client.submit(new).result(SECONDS))


def _causes(error):
    while error is not None:
        yield f"{type(error).__name__}: {error}"[:300]
        error = error.__cause__


def tell(**answer):
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def main(address, names):
    warnings.simplefilter("ignore")
    from distributed import Client

    try:
        client = Client(address, timeout=4, set_as_default=False)
    except Exception as error:  # noqa: BLE001 - every failure is an answer
        for name in names:
            tell(act=name, ok=False, value=None, error=["connect", *_causes(error)])
        return
    with client:
        for name in names:
            try:
                tell(act=name, ok=True, value=globals()[name](client), error=[])
            except BaseException as error:  # noqa: BLE001
                tell(act=name, ok=False, value=None, error=list(_causes(error)))


if __name__ == "__main__":
    sys.path.insert(0, "")
    main(sys.argv[1], sys.argv[2:])
