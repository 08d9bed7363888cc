"""Worker processes, and the seam between the planes.

`messages` (what crosses the seam), `worker` (one worker's life), `pool` (its keeper in the control
process), `direct` (the seam without workers), `sockets` (where clients connect), `handover` (from one
control process to the next).
Snapshots go down and counts come up a socket pair. Workers stay right without the control plane: when
it dies they serve on from the last snapshot, until another one has taken over its state, and from
them the very sockets they listen on, so that no connection is lost in between.
"""
