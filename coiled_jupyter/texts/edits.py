"""Finds loaded code outside of any installation that differs from its file.

Such code (modules beside the notebook, trees of editable installs) has no version: the disk shows only what a new
process would import. ``edited()`` returns ``[(module, path)]`` of those whose file has changed since their import.

The file is remembered when a module is first seen, and again when it is reloaded. A file that may have
changed between import and first sight is compiled and compared with the functions, classes and constants that the module has.

Rules: Python 3.8, standard library only, never raises; modules are examined through ``vars`` only.
"""

import ast
import hashlib
import os
import stat
import sys
import time
import types

LIMIT = 500
SMALL = 65536
FEW = 100
# File systems have coarse clocks.
MARGIN = 2.0
# {module: [its spec, (size, mtime) of its file, digest, "" if it wasn't read, None if other code is loaded]}
_SEEN = {}
_LOOKED = [None]


def _started():
    try:
        with open("/proc/self/stat") as file:
            ticks = int(file.read().rpartition(")")[2].split()[19])
        boot = int(time.time() - time.clock_gettime(time.CLOCK_BOOTTIME))
        # A forked process has what its parent had imported.
        return min(boot + ticks / os.sysconf("SC_CLK_TCK"), getattr(sys, "_coiled_jupyter_started", float("inf")))
    except Exception:
        return 0.0


def _codes(code):
    found, left = set(), [code]
    while left:
        inner = [const for const in left.pop().co_consts if isinstance(const, types.CodeType)]
        found.update(inner)
        left += inner
    return found


def _functions(space, name, depth=3):
    for value in list(space.values()):
        value = getattr(value, "__func__", value) if isinstance(value, (staticmethod, classmethod)) else value
        for function in (value.fget, value.fset, value.fdel) if isinstance(value, property) else (value,):
            if isinstance(function, types.FunctionType) and function.__module__ == name:
                yield function.__code__
        if isinstance(value, type) and depth and vars(value).get("__module__") == name:
            for code in _functions(vars(value), name, depth - 1):
                yield code


def _plain(node, space):
    """Return whether a statement defines nothing that `space` doesn't have, or None if that is unknown."""
    if isinstance(node, (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return None if getattr(node, "decorator_list", None) else True
    if isinstance(node, ast.Expr) and isinstance(getattr(node, "value", None), ast.Constant):
        return True
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    if isinstance(node, (ast.Assign, ast.AnnAssign)) and len(targets) == 1 and isinstance(targets[0], ast.Name):
        try:
            value = ast.literal_eval(node.value)
        except Exception:
            return None
        mine = space.get(targets[0].id, space)
        return type(mine) is type(value) and mine == value
    return None


def _compiled(spec, status):
    """Whether Python's cached bytecode belongs to this file, so that it was imported as it is."""
    try:
        with open(spec.cached, "rb", opener=_opener) as file:
            head = file.read(16)
        mark = int.from_bytes(head[8:12], "little"), int.from_bytes(head[12:16], "little")
        return head[4:8] == b"\0\0\0\0" and mark == (int(status.st_mtime) & 0xFFFFFFFF, status.st_size & 0xFFFFFFFF)
    except Exception:
        return False


def _runs(name, space, data, spec, path, status):
    """Whether a module is what its file defines, as far as its attributes show."""
    tree = ast.parse(data, path)
    plain = [_plain(node, space) for node in tree.body]
    if False in plain or (None in plain and not _compiled(spec, status)):
        return False
    known = _codes(compile(data, path, "exec", dont_inherit=True))
    own = [code for code in _functions(space, name) if os.path.basename(code.co_filename) == os.path.basename(path)]
    there = {code.co_name for code in own}
    wanted = {
        node.name
        for node in tree.body
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and not node.decorator_list
    }
    return all(code in known for code in own) and wanted <= there


def _opener(path, flags):
    """Open a regular file only: a pipe would wait for somebody to write, and a device may never end."""
    descriptor = os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise OSError("not a regular file")


def _read(path):
    with open(path, "rb", opener=_opener) as file:
        data = file.read((1 << 20) + 1)
    return data if len(data) <= 1 << 20 else None


def _digest(data):
    return hashlib.blake2b(data, digest_size=8).hexdigest()


def _meet(name, space, spec, path, status, since):
    digest = ""
    if max(status.st_mtime, status.st_ctime) + MARGIN > since:
        # It may have been changed after it was imported.
        data = _read(path)
        digest = _digest(data) if data is not None and _runs(name, space, data, spec, path, status) else None
    elif status.st_size <= SMALL and len(_SEEN) < FEW:
        digest = _digest(_read(path))
    return [spec, (status.st_size, status.st_mtime_ns), digest]


def _holds(name, space, path, since):
    status, spec = os.stat(path), space.get("__spec__")
    known = _SEEN.get(name)
    # A reload gives a module a new spec.
    if known is None or known[0] is not spec:
        known = _SEEN[name] = _meet(name, space, spec, path, status, since)
    mark = (status.st_size, status.st_mtime_ns)
    if known[1] != mark:
        # A change that was reverted is none; a file that wasn't read counts as changed.
        if not known[2] or _digest(_read(path) or b"") != known[2]:
            return False
        known[1] = mark
    return known[2] is not None


def edited():
    """Return ``[(module, path)]``, sorted."""
    found = []
    try:
        begun = time.time()
        since = _LOOKED[0] if _LOOKED[0] is not None else _started()
        library = os.path.dirname(os.__file__)
        inside = tuple({os.path.join(x, "") for x in (sys.prefix, sys.base_prefix, sys.exec_prefix, library)})
        present = 0
        for name, module in list(sys.modules.items()):
            try:
                space = vars(module)
                path = space.get("__file__")
                if not isinstance(path, str) or not path.endswith(".py") or name.startswith("__"):
                    continue
                if path.startswith(inside) or "site-packages" in path or "dist-packages" in path:
                    continue
                present += 1
                if present > LIMIT:
                    break
                if not _holds(name, space, path, since):
                    found.append((name, path))
            except Exception:
                # A file that is gone or can't be compiled isn't the loaded code.
                found.append((str(name), str(vars(module).get("__file__"))))
        _LOOKED[0] = begun
    except Exception:
        return found
    return sorted(found)
