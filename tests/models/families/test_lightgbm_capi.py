"""Import of LightGBM without the packages that only its wrappers need."""

import subprocess
import sys

AMID = """
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from importlib.machinery import PathFinder

from mlops_cli.models.families.lightgbm_capi import package


class Other:
    # Amid LightGBM's import, a thread imports what LightGBM's import goes without.
    def find_spec(self, fullname, path, target=None):
        if fullname != "lightgbm.compat":
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        self.execute, spec.loader.exec_module = spec.loader.exec_module, self.exec_module
        return spec

    def exec_module(self, module):
        with ThreadPoolExecutor(1) as pool:
            pool.submit(import_module, "sklearn.linear_model").result()
        self.execute(module)


sys.meta_path.insert(0, Other())
assert package().Booster
assert sys.modules["sklearn.linear_model"].Ridge
"""

ALONE = """
import sys

from mlops_cli.models.families.lightgbm_capi import package

finders = list(sys.meta_path)
assert package().Booster
print(sorted({"sklearn", "pandas", "scipy.stats"} & set(sys.modules)))
assert sys.meta_path == finders
import pandas, sklearn.linear_model
"""


def test_the_package_is_imported_without_what_only_its_wrappers_need():
    done = subprocess.run(
        [sys.executable, "-c", ALONE], check=False, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_another_thread_may_import_scikit_learn_meanwhile():
    done = subprocess.run(
        [sys.executable, "-c", AMID], check=False, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
