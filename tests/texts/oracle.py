"""An independent reader: what Python's own machinery finds under a name, with all bytes and code that this leads to.

Run in a fresh process with the places of a made environment: ``python -B -I -S -c SOURCE ROOT PATH TAIL NAMES``.
"""

BOOT = """
import json, site, sys
root, path, tail = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])
site.getsitepackages = lambda *a: [root + "/sp"]
site.ENABLE_USER_SITE = False
sys.path[:0] = [each.replace("@", root) for each in path]
site.addsitedir(root + "/sp")
sys.path += [each.replace("@", root) for each in tail]
try:
    import sitecustomize
except ImportError:
    pass
"""
"""Makes the process look where the made environment says."""

SOURCE = (
    BOOT
    + r"""
import hashlib, importlib.machinery, importlib.util, os, pkgutil, types, zipimport

def code(c):
    if isinstance(c, types.CodeType):
        names = (c.co_name, c.co_argcount, c.co_flags, c.co_code.hex(), c.co_names, c.co_varnames)
        return ("code", *map(repr, names), [code(x) for x in c.co_consts])
    if isinstance(c, frozenset):
        return sorted(map(repr, c))
    return [code(x) for x in c] if isinstance(c, tuple) else repr(c)

def h(data):
    return hashlib.sha256(data).hexdigest()[:12]

def members(at):
    z = zipimport.zipimporter(at)
    return z, sorted(z._get_files() if hasattr(z, "_get_files") else z._files)

def files(at, seen=()):
    out = {}
    if os.path.isdir(at):
        if os.path.realpath(at) in seen:
            return {"loop": "loop"}
        for name in sorted(os.listdir(at)):
            p = os.path.join(at, name)
            if name == "__pycache__" or (name.endswith(".pyc") and os.path.exists(p[:-1])):
                continue
            if os.path.isdir(p):
                out.update((name + "/" + k, v) for k, v in files(p, seen + (os.path.realpath(at),)).items())
            elif os.path.isfile(p):
                out[name] = h(open(p, "rb").read())
                if name.endswith(".py"):
                    try:
                        run = importlib.machinery.SourceFileLoader("x", p).get_code("x")
                        out[name + ":code"] = h(repr(code(run)).encode())
                    except Exception as e:
                        out[name + ":code"] = type(e).__name__
    elif ".zip" in at:
        z, names = members(at)
        for k in names:
            if k.startswith(z.prefix) and not k.endswith("/"):
                out[k[len(z.prefix):]] = h(z.get_data(k))
    return out

def see(name, path=None, depth=0):
    try:
        if path is None:
            spec = importlib._bootstrap._find_spec(name, None)
        else:
            spec = importlib.machinery.PathFinder.find_spec(name, path)
    except Exception as e:
        return ["error", type(e).__name__]
    if spec is None:
        return None
    where = spec.submodule_search_locations
    where = None if where is None else list(getattr(where, "_path", where))
    kind = spec.loader.__name__ if isinstance(spec.loader, type) else type(spec.loader).__name__
    if where is not None and (spec.loader is None or "Namespace" in kind):
        subs, data, names = {}, {}, set()
        for at in where:
            inner = os.listdir(at) if os.path.isdir(at) else [k.split("/")[0] for k in files(at)]
            names.update(n.split(".")[0] for n in inner)
        held = name not in sys.modules
        if held:
            sys.modules[name] = types.ModuleType(name)
            sys.modules[name].__path__ = where
        for n in sorted(names - {"__pycache__"}):
            got = see(name + "." + n, where, depth + 1) if n.isidentifier() and depth < 8 else None
            if got is not None:
                subs[n] = got
        if held:
            del sys.modules[name]
        for at in where:
            for k, v in files(at).items():
                if k.split("/")[0].split(".")[0] not in subs:
                    data.setdefault(k, v)
        return ["namespace", subs, data] if subs else None
    out = [kind]
    if spec.origin and os.path.isfile(spec.origin):
        out.append(h(open(spec.origin, "rb").read()))
    elif spec.origin and hasattr(spec.loader, "get_data"):
        try:
            out.append(h(spec.loader.get_data(spec.origin)))
        except Exception:
            pass
    try:
        out.append(h(repr(code(spec.loader.get_code(name))).encode()))
    except Exception:
        out.append("no code")
    if where is not None:
        out.append([files(at) for at in where])
        if spec.origin and os.path.isfile(spec.origin) and b"extend_path" in open(spec.origin, "rb").read():
            out.append([files(at) for at in pkgutil.extend_path(where, name)])
    if spec.origin:
        beside = (os.path.dirname(spec.origin) if where is not None else spec.origin.split(".")[0]) + ".libs"
        if os.path.isdir(beside):
            out.append(files(beside))
    return out

names = set(json.loads(sys.argv[4]))
for entry in sys.path:
    if "python3" in entry and "/sp" not in entry:
        continue
    inner = os.listdir(entry) if os.path.isdir(entry) else files(entry) if os.path.isfile(entry) else ()
    names.update(n.split("/")[0].split(".")[0] for n in inner)
print(json.dumps({n: see(n) for n in sorted(names) if n and n != "__pycache__"}))
"""
)
"""Prints ``{name: what it leads to, or null}``."""

MAPPED = (
    BOOT
    + r"""
given = json.loads(sys.stdin.read())
space = {"__name__": "content"}
exec(compile(given["content"], "content", "exec"), space)
imports = {"__name__": "imports"}
exec(compile(given["imports"], "imports", "exec"), imports)
asked = {"places": space["places"](), "wanted": json.loads(sys.argv[4]), "names": True, "cache": given["cache"]}
print(imports["imports"](json.dumps(asked)))
"""
)
"""Prints what our texts answer at the same places; their sources, and the path of what earlier looks kept, are given as JSON."""
