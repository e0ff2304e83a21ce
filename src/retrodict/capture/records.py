"""The records in a spool: tuples of (kind, time in ns, thread, ...), as the guards write them and `fold` reads them.

| kind | after the thread | says |
|---|---|---|
| `I` | (no thread) argv, cwd, inherited descriptors, since_ns | the run begins; first record, by the recorder |
| `C` | | the thread is the command itself |
| `P` | process, parent | a thread was seen for the first time |
| `Q` | (thread = process) | a process ended |
| `J` | token, process | a run inside the run asked for its records |
| `x` | path, status, argv | a program is executed |
| `o` | flags, path, status | a file is opened |
| `t`, `d`, `n`, `s` | path, status | truncated; deleted; a node, a symbolic link made |
| `m`, `l` | flags, path, status, path 2, status 2 | moved; linked |
| `p` | path, status, outcome, where or why, bytes copied | an original was preserved before it was destroyed |
| `c` | address | a connection |
| `N` | system call | another view of the file system: paths may be read wrongly |
| `B` | system call | a call whose path could not be read |
| `G` | (a guard) | a guard, to be buried |
| `T` | (guard) was it stuck | a guard took over |
| `E` | (no thread) exit code, or None | the command ended |
| `U` | (no thread) user us, system us, peak KiB | what it took |
| `Z` | | nothing of the command is left |

A status is `files.Status` before the call; None: there was no file; 0: nobody could look. Paths are real paths.
"""

from __future__ import annotations

import os

INVOKED, COMMAND, THREAD, ENDED, JOINED = "I", "C", "P", "Q", "J"
EXECUTE, OPEN, TRUNCATE, DELETE, NODE, SYMLINK, MOVE, LINK = "x", "o", "t", "d", "n", "s", "m", "l"
PRESERVED, CONNECT, VIEW, BLIND, TAKEOVER, EXIT, USAGE, LAST = "p", "c", "N", "B", "T", "E", "U", "Z"
GUARD, REMOVE_FOLDER = "G", "r"

SO_FAR = b"/.retrodict-so-far"  # opening this is how a process of the run reads the records up to now

CREATES, TRUNCATES, EXCLUSIVE, APPENDS = os.O_CREAT, os.O_TRUNC, os.O_EXCL, os.O_APPEND
ACCESS_MODE = os.O_ACCMODE  # 0 read, 1 write, 2 both
UNKNOWN = 0
RENAME_NOREPLACE, RENAME_EXCHANGE = 1, 2
