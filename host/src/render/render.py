# Runs inside of the sandbox, in the project's own Python: imports the project's files and answers, on standard output, with a line of
# JSON about how it went and, below that, what harmont makes of them. Standard error is the files' own. Has to run, as far as saying
# that harmont is missing, in any Python 3.
import importlib.util
import json
import os
import sys
import traceback

ROOT = os.getcwd()
# What is printed goes to standard error, also by programs that are started from here, so that the answer stays whole.
ANSWER = os.dup(1)
os.dup2(2, 1)
if hasattr(sys.stdout, "reconfigure"):
    sys.stdout.reconfigure(line_buffering=True)
# Of a longer text, the ends are shown.
LINES, CHARACTERS = 20, 4000


def answer(about, document=""):
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:
            pass
    with os.fdopen(ANSWER, "w", encoding="utf-8", errors="backslashreplace") as out:
        out.write(json.dumps(about) + "\n" + document)
    # Nothing that is still running, a thread say, is waited for.
    os._exit(0)


def is_theirs(file):
    return file.startswith(ROOT + os.sep) and "site-packages" not in file


def place(file):
    return os.path.relpath(file, ROOT) if is_theirs(file) else file


def leave_theirs(told, seen):
    """Takes out of what is told of an error whatever is not in the project; says whether something is left."""
    if told is None or id(told) in seen:
        return told is not None
    seen.add(id(told))
    frames = [frame for frame in told.stack or () if is_theirs(frame.filename)]
    for frame in frames:
        frame.filename = place(frame.filename)
    told.stack = traceback.StackSummary.from_list(frames) if frames else None
    of_syntax = getattr(told, "lineno", None) is not None
    if of_syntax and told.filename:
        told.filename = place(told.filename)
    inner = [leave_theirs(one, seen) for one in getattr(told, "exceptions", None) or ()]
    for name in ("__cause__", "__context__"):
        if not leave_theirs(getattr(told, name), seen):
            setattr(told, name, None)
    return bool(frames) or of_syntax or any(inner)


def shortened(text):
    lines = text.rstrip("\n").split("\n")
    if len(lines) > 2 * LINES:
        lines[LINES:-LINES] = ["  ..."]
    text = "\n".join(lines)
    if len(text) > 2 * CHARACTERS:
        text = text[:CHARACTERS] + " ... " + text[-CHARACTERS:]
    return text


def registrations():
    """What is registered, with where that is written. harmont keeps this to itself, so it may be elsewhere one day."""
    try:
        return [(one.slug, written(one.fn)) for one in sys.modules["harmont._registry"].REGISTRATIONS]
    except Exception:
        return []


def written(function):
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    return "%s:%d" % (place(function.__code__.co_filename), function.__code__.co_firstlineno)


def rendered_last(error):
    """The pipeline that harmont was at work on, if none of its own code is to blame."""
    at = error.__traceback__
    while at is not None:
        of = at.tb_frame.f_locals.get("reg")
        if at.tb_frame.f_globals.get("__name__") == "harmont._envelope" and of is not None:
            return "pipeline %r (%s): " % (of.slug, written(of.fn))
        at = at.tb_next
    return ""


def raised(error):
    told = traceback.TracebackException(type(error), error, error.__traceback__)
    before = after = ""
    try:
        if not leave_theirs(told, set()):
            before = rendered_last(error)
        if str(error).startswith("duplicate pipeline slug "):
            first = [where for slug, where in registrations() if repr(slug) in str(error)]
            after = "".join("\n  the first is at " + where for where in first)
    except Exception:
        pass
    text = before + "".join(told.format()).rstrip("\n") + after
    answer({"raised": shortened(text.replace(ROOT + os.sep, ""))})


def load(path):
    name = os.path.basename(path)[: -len(".py")]
    there = sys.modules.get(name)
    if there is not None:
        if getattr(there, "__file__", None) == path:
            return  # A neighbour has imported it.
        # Something of that name is in use, and not to be replaced.
        name = "pipelines in " + name
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)


def main(folder, user_base, *files):
    folder = os.path.join(ROOT, folder)
    gone = [file for file in files if not os.path.isfile(os.path.join(folder, file))]
    if gone:
        answer({"left_out": gone[0]})
    if user_base and sys.prefix == sys.base_prefix:
        import site

        site.addsitedir("%s/lib/python%d.%d/site-packages" % ((user_base,) + sys.version_info[:2]))
    try:
        import harmont
    except Exception as error:
        version = "%d.%d.%d" % sys.version_info[:3]
        if getattr(error, "name", "") == "harmont" and isinstance(error, ImportError):
            answer({"no_harmont": version})
        answer({"broken_harmont": [version, shortened("".join(traceback.format_exception_only(type(error), error)))]})
    sys.path.insert(0, folder)
    sys.argv[:] = [""]
    for file in files:
        load(os.path.join(folder, file))
    document = harmont.dump_registry_json()
    if not isinstance(document, str):
        raise TypeError("harmont.dump_registry_json() has not returned a text")
    answer({"places": dict(registrations())}, document)


try:
    main(*sys.argv[1:])
except BaseException as error:
    raised(error)
