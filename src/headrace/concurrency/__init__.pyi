"""The names that the other packages may use."""

from ._forks import register_fork_listener as register_fork_listener
from ._jobs import Job as Job
from ._jobs import Task as Task
from ._prefetcher import Prefetcher as Prefetcher
from ._stalls import CancellationToken as CancellationToken
