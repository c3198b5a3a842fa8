"""What every command is held to: help at once, and one line for what its user can mend."""

import resource
import subprocess
import sys

HEAVY = {"torch", "cv2", "matplotlib", "kornia", "h5py", "numba"}


def assert_told_in_one_line(main, words, said, capture):
    """Exit code 2, one line on stderr that begins with `said`, nothing on stdout."""
    assert main(words) == 2
    out, err = capture.readouterr()
    assert err.startswith(f"error: {said}")
    assert (err.count("\n"), out) == (1, "")


def assert_help_is_quick(module, option):
    """--help names the option, imports nothing heavy and takes less than two seconds."""
    code = (
        f"import sys\nfrom {module} import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as stopped:\n    assert stopped.code == 0\n"
        f"sys.stderr.write(repr(sorted(set(sys.modules) & {HEAVY!r})))"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert option in done.stdout
    assert done.stderr == "[]"
    # Processor time: a busy machine is no fault of the command.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2
