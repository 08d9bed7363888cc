"""Worker processes, and the seam between the planes.

`messages` (what crosses the seam), `worker` (the worker process), `pool` (starts and replaces workers, in
the control process), `direct` (the seam without workers), `sockets` (listening sockets), `tls` (certificates), `handover` (from one control
process to the next), `state_lock` (one control process for each state). Each worker has a socket pair to
the control process: snapshots go down, counts come up. When the control process dies, workers serve from
the last snapshot. They hand their listening sockets to the next control process, so no connection is lost.
"""
