"""Worker processes, and the seam between the planes.

`messages` (what crosses the seam), `worker` (the worker process), `pool` (starts and replaces workers, in the
control process), `link` (its connection to one), `direct` (the seam without workers), `serving` (all of what serves
clients), `sockets` (listening sockets), `tls` (certificates). From one control process to the next
(docs/succession.md): `succession` (what one holds), `handover` and `takeover` (the two sides), `state_lock`,
`local_socket` (descriptors that are sent). Each worker has a socket pair to the control process: snapshots go down,
counts come up. When the control process dies, workers serve from the last snapshot. They hand their listening
sockets to the next control process, so no connection is lost.
"""
