"""Trials of pickles: an object made by one release of a package, used by another, in both directions.

Run as a command, it makes all trials and prints the table of ``docs/pickles.md``; the rules that follow are in
``coiled_jupyter/core/rules.toml``.
"""

from __future__ import annotations

import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.environments import environment, interpreters

DUMP = """
import os, pickle, sys
# Some packages print.
out = os.fdopen(os.dup(1), "wb")
os.dup2(2, 1)
space = {}
exec(sys.argv[1], space)
out.write(pickle.dumps(space["value"], protocol=4))
out.close()
"""
LOAD = """
import pickle, sys, warnings
warnings.simplefilter("ignore")
value = pickle.loads(sys.stdin.buffer.read())
if hasattr(value, "predict"):
    import numpy
    value.predict(numpy.array([[0.0, 1.0]]))
else:
    repr(value)
"""


@dataclass(frozen=True)
class Trial:
    """Two releases of a package, the code that makes an object of it (``value``), and what else both need."""

    name: str
    older: str
    newer: str
    code: str
    python: str = "3.11"
    beside: tuple[str, ...] = ()


FIT = "import numpy as np; x = np.arange(20.).reshape(10, 2); y = np.arange(10) % 2\n"
NUMPY_1 = ("numpy<2",)
TRIALS = (
    Trial("affine", "2.3.1", "2.4.0", "import affine; value = affine.Affine.translation(1, 2)"),
    Trial("arrow", "0.17.0", "1.3.0", "import arrow; value = arrow.get('2020-01-01')"),
    Trial("astropy", "5.3.4", "7.1.0", "import astropy.units as u; value = 3 * u.m", beside=NUMPY_1),
    Trial("astropy", "6.1.7", "7.1.0", "from astropy.table import Table; value = Table({'a': [1, 2]})", beside=("numpy==2.2.6",)),
    Trial("attrs", "21.4.0", "25.3.0", "import attr; value = attr.Factory(list)"),
    Trial("awkward", "2.1.4", "2.8.2", "import awkward as ak; value = ak.Array([[1], [2, 3]])", beside=NUMPY_1),
    Trial("biopython", "1.79", "1.85", "from Bio.Seq import Seq; value = Seq('ACGT')", beside=NUMPY_1),
    Trial("boost-histogram", "1.3.2", "1.5.2", "import boost_histogram as bh; value = bh.Histogram(bh.axis.Regular(3, 0, 1)); value.fill([0.5])", beside=NUMPY_1),
    Trial("cftime", "1.6.2", "1.6.4", "import cftime; value = cftime.DatetimeNoLeap(2000, 1, 1)", beside=NUMPY_1),
    Trial("cloudpickle", "2.2.1", "3.1.1", "import cloudpickle, pickle; pickle.dumps = lambda v, protocol: cloudpickle.dumps(v)\nvalue = lambda x: x + 1"),
    Trial("fsspec", "2022.11.0", "2025.3.0", "import fsspec; value = fsspec.filesystem('file')"),
    Trial("geopandas", "0.14.4", "1.1.0", "import geopandas as g; from shapely.geometry import Point; value = g.GeoDataFrame({'a': [1]}, geometry=[Point(0, 0)], crs=4326)", beside=("shapely==2.0.6", "pandas==2.2.3", "numpy<2", "pyproj==3.6.1")),
    Trial("imbalanced-learn", "0.11.0", "0.13.0", FIT + "from imblearn.over_sampling import RandomOverSampler; value = RandomOverSampler()", beside=("scikit-learn==1.4.2", "numpy<2")),
    Trial("joblib", "1.2.0", "1.5.1", "import joblib; value = joblib.delayed(len)([1])"),
    Trial("lightgbm", "3.3.5", "4.6.0", FIT + "import lightgbm; value = lightgbm.LGBMClassifier(n_estimators=2, min_child_samples=1).fit(x, y)", beside=("numpy<2", "scikit-learn==1.3.2", "scipy<1.13")),
    Trial("lightgbm", "3.3.5", "4.6.0", FIT + "import lightgbm; value = lightgbm.LGBMRegressor(n_estimators=2, min_child_samples=1).fit(x, y)", beside=("numpy<2", "scikit-learn==1.3.2", "scipy<1.13")),
    Trial("matplotlib", "3.8.4", "3.10.3", "import matplotlib; matplotlib.use('Agg'); import matplotlib.pyplot as p; value = p.figure()", beside=NUMPY_1),
    Trial("matplotlib", "3.6.3", "3.10.3", "import matplotlib; matplotlib.use('Agg'); import matplotlib.pyplot as p; value = p.figure()", beside=NUMPY_1),
    Trial("multidict", "5.2.0", "6.4.4", "from multidict import MultiDict; value = MultiDict(a=1)", python="3.10"),
    Trial("networkx", "2.8.8", "3.4.2", "import networkx as n; value = n.path_graph(3)"),
    Trial("numba", "0.57.1", "0.61.2", "import numba; value = numba.typeof(1.0)", beside=NUMPY_1),
    Trial("numpy", "1.21.6", "1.26.4", "import numpy as np; value = np.arange(3)", python="3.9"),
    Trial("numpy", "1.26.4", "2.2.6", "import numpy as np; value = np.arange(3)"),
    Trial("numpy", "2.0.2", "2.3.1", "import numpy as np; value = np.arange(3)"),
    Trial("numpy", "1.26.4", "2.2.6", "import numpy as np; value = np.random.default_rng(1)"),
    Trial("optuna", "2.10.1", "4.3.0", "import optuna; optuna.logging.set_verbosity(50); value = optuna.create_study()", beside=NUMPY_1),
    Trial("pandas", "1.2.5", "1.3.5", "import pandas as pd; value = pd.DataFrame({'a': [1]})", python="3.9", beside=NUMPY_1),
    Trial("pandas", "1.3.5", "1.5.3", "import pandas as pd; value = pd.DataFrame({'a': [1]})", python="3.9", beside=NUMPY_1),
    Trial("pandas", "1.3.5", "1.4.4", "import pandas as pd; value = pd.DataFrame({'a': [1]})", python="3.9", beside=NUMPY_1),
    Trial("pandas", "1.4.4", "1.5.3", "import pandas as pd; value = pd.DataFrame({'a': [1]})", python="3.9", beside=NUMPY_1),
    Trial("pandas", "1.5.3", "2.0.3", "import pandas as pd; value = pd.DataFrame({'a': [1], 'b': ['x']})", beside=NUMPY_1),
    Trial("pandas", "2.0.3", "2.2.3", "import pandas as pd; value = pd.DataFrame({'a': [1], 'b': ['x']})", beside=NUMPY_1),
    Trial("pandas", "2.2.3", "2.3.3", "import pandas as pd; value = pd.DataFrame({'a': [1], 'b': ['x']})", beside=("numpy==2.2.6",)),
    Trial("pandas", "2.3.3", "3.0.0", "import pandas as pd; value = pd.DataFrame({'a': [1], 'b': ['x']})", beside=("numpy==2.2.6",)),
    Trial("pendulum", "2.1.2", "3.1.0", "import pendulum; value = pendulum.datetime(2020, 1, 1)", python="3.9"),
    Trial("pillow", "9.5.0", "11.2.1", "from PIL import Image; value = Image.new('RGB', (2, 2))"),
    Trial("pint", "0.21.1", "0.24.4", "import pint; u = pint.UnitRegistry(); pint.set_application_registry(u); value = 3 * u.meter", beside=NUMPY_1),
    Trial("plotly", "5.14.1", "6.1.2", "import plotly.graph_objects as g; value = g.Figure(g.Scatter(y=[1]))"),
    Trial("polars", "0.20.31", "1.30.0", "import polars as p; value = p.DataFrame({'a': [1]})"),
    Trial("polars", "1.9.0", "1.30.0", "import polars as p; value = p.DataFrame({'a': [1]})"),
    Trial("polars", "1.9.0", "1.30.0", "import polars as p; value = p.LazyFrame({'a': [1]}).filter(p.col('a') > 0)"),
    Trial("polars", "1.29.0", "1.30.0", "import polars as p; value = p.DataFrame({'a': [1]})"),
    Trial("polars", "1.29.0", "1.30.0", "import polars as p; value = p.LazyFrame({'a': [1]}).filter(p.col('a') > 0)"),
    Trial("pyarrow", "10.0.1", "20.0.0", "import pyarrow as p; value = p.table({'a': [1]})", beside=NUMPY_1),
    Trial("pydantic", "1.10.22", "2.11.5", "import pydantic, datetime; from pydantic.color import Color; value = Color('red')"),
    Trial("pyproj", "3.5.0", "3.7.1", "import pyproj; value = pyproj.CRS(4326)"),
    Trial("python-dateutil", "2.8.1", "2.9.0.post0", "import dateutil.tz; value = dateutil.tz.gettz('Europe/Berlin')"),
    Trial("pytz", "2020.1", "2025.2", "import pytz; value = pytz.timezone('Europe/Berlin')"),
    Trial("scikit-image", "0.20.0", "0.25.2", "import skimage.transform as t; value = t.EuclideanTransform()", beside=NUMPY_1),
    Trial("scikit-learn", "1.0.2", "1.2.2", FIT + "from sklearn.ensemble import RandomForestClassifier as R; value = R(2).fit(x, y)", python="3.9", beside=NUMPY_1),
    Trial("scikit-learn", "1.2.2", "1.3.2", FIT + "from sklearn.ensemble import RandomForestClassifier as R; value = R(2).fit(x, y)", beside=NUMPY_1),
    Trial("scikit-learn", "1.3.2", "1.5.2", FIT + "from sklearn.ensemble import RandomForestClassifier as R; value = R(2).fit(x, y)", beside=NUMPY_1),
    Trial("scikit-learn", "1.5.2", "1.7.0", FIT + "from sklearn.ensemble import RandomForestClassifier as R; value = R(2).fit(x, y)", beside=NUMPY_1),
    Trial("scikit-learn", "1.5.2", "1.7.0", FIT + "from sklearn.linear_model import LogisticRegression as R; value = R().fit(x, y)", beside=NUMPY_1),
    Trial("scipy", "1.9.3", "1.13.1", "import scipy.sparse as s; value = s.eye(3, format='csr')", beside=NUMPY_1),
    Trial("scipy", "1.13.1", "1.15.3", "import scipy.stats as s; value = s.norm(0, 1)", beside=NUMPY_1),
    Trial("shapely", "1.8.5.post1", "2.0.6", "from shapely.geometry import Point; value = Point(0, 0)", beside=NUMPY_1),
    Trial("shapely", "2.0.6", "2.1.1", "from shapely.geometry import Point; value = Point(0, 0)", beside=NUMPY_1),
    Trial("sortedcontainers", "2.1.0", "2.4.0", "from sortedcontainers import SortedDict; value = SortedDict(a=1)"),
    Trial("sparse", "0.14.0", "0.15.5", "import sparse; value = sparse.random((2, 2), density=0.5)", beside=NUMPY_1),
    Trial("statsmodels", "0.13.5", "0.14.4", FIT + "import statsmodels.api as s; value = s.OLS(y, x).fit()", beside=("numpy<2", "pandas==1.5.3", "scipy<1.12")),
    Trial("sympy", "1.11.1", "1.14.0", "import sympy; value = sympy.Symbol('x') ** 2"),
    Trial("toolz", "0.12.0", "1.0.0", "import toolz; value = toolz.curry(max, 1)"),
    Trial("uncertainties", "3.1.7", "3.2.3", "import uncertainties; value = uncertainties.ufloat(1, 0.1)"),
    Trial("xarray", "2022.12.0", "2025.1.2", "import xarray as x; value = x.DataArray([1, 2], dims='a')", beside=("numpy<2", "pandas==2.2.3")),
    Trial("xgboost", "1.7.6", "2.1.4", FIT + "import xgboost; value = xgboost.XGBClassifier(n_estimators=2).fit(x, y)", beside=("numpy<2", "scikit-learn==1.3.2")),
    Trial("xgboost", "2.1.4", "3.0.2", FIT + "import xgboost; value = xgboost.XGBClassifier(n_estimators=2).fit(x, y)", beside=("numpy<2", "scikit-learn==1.5.2")),
    Trial("yarl", "1.8.2", "1.20.0", "import yarl; value = yarl.URL('http://h/p')", python="3.10"),
    Trial("zarr", "2.13.6", "2.18.3", "import zarr; value = zarr.zeros(3)", beside=("numpy<2", "numcodecs<0.14")),
    Trial("zarr", "2.18.3", "3.0.8", "import zarr; value = zarr.zeros(3)", beside=("numpy<2", "numcodecs==0.15.1")),
)  # fmt: skip


def tried(trial: Trial) -> tuple[str, str]:
    """Return what happens to an object of the older release in the newer one, and the other way: ``""`` or the error."""
    base = interpreters()[trial.python]
    older, newer = (
        str(environment(base, f"{trial.name}=={version}", *trial.beside)) for version in (trial.older, trial.newer)
    )
    return _carried(older, newer, trial.code), _carried(newer, older, trial.code)


def _carried(there: str, here: str, code: str) -> str:
    made = subprocess.run([there, "-c", DUMP, code], capture_output=True, check=False, timeout=120)
    if made.returncode:
        raise RuntimeError(f"The object can't be made: {made.stderr.decode()[-500:]}")
    loaded = subprocess.run([here, "-c", LOAD], input=made.stdout, capture_output=True, check=False, timeout=120)
    if loaded.returncode < 0:
        return f"the process dies of signal {-loaded.returncode}"
    said = [line for line in loaded.stderr.decode().splitlines() if re.match(r"[\w.]+(Error|Exception)\b", line)]
    return said[-1].replace("`", "'").replace("|", "/")[:100] if loaded.returncode else ""


def main() -> None:
    """Print the table."""

    def one(trial: Trial) -> str:
        try:
            forth, back = tried(trial)
        except Exception as error:  # noqa: BLE001 - one that can't be tried is told in its line
            return f"! {trial.name} {trial.older} {trial.newer}: {str(error)[-300:]!r}"
        cells = (trial.name, trial.older, trial.newer, *(f"`{it}`" if it else "loads" for it in (forth, back)))
        return "| " + " | ".join(cells) + " |"

    with ThreadPoolExecutor(2) as pool:
        for line in pool.map(one, TRIALS):
            print(line, flush=True)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    main()
