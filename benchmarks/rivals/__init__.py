"""The loaders that are compared, one file each.

A module here has ``RIVALS``, a mapping of names to functions ``run(task, workers)`` that yield
float32 arrays of shape ``(windows, samples)``: the windows of `task`, mono, at its target rate, in
its order. Every run starts its threads or processes itself, and that counts. A rival that cannot do
a task raises `tasks.UnsupportedError`; one whose library is not installed fails to be imported.
Either is reported, and the others run.

The settings in each file are the best of a small search over those that it names.
"""
