"""A function over an archive: `Windows.apply` and the results that it keeps.

Promises that every window has one result or one failure, exactly once, whenever a process is killed
and however many processes work on one output. Correctness rests on one operation of the output's
storage: create a file if it is absent. May import `adapters` (the frameworks that stand below it),
`loading` and the packages below them.

Start in `_apply` (one process's share of the work). A `Manifest` (`_manifest`) says what is applied
to what; `_generations` which recordings the run has, and where their windows are; `_parts` what is
in a part; `_work` what is left; `_leases` what other processes are doing, and `_owner` whether they
run. `_model` calls the user's function, `_outputs` turns what it returns into columns, and
`_window_columns` adds which window a row is of. `_result_folder` is a folder or a bucket, and
`_background` the one thread that writes. `_assigned_parts` makes what a scheduler assigns instead
of what is left. `Run` (`_run`) reads all of it.
"""

from headrace._lazy import attach_names

__getattr__, __dir__, __all__ = attach_names(__name__, __file__)
