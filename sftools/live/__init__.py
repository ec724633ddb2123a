"""Live capture: the running system as the bytes of a scap capture. See docs/live.md.

session puts it together: capture (the lists of procfs and host, then the events of loader and ring_cy), containers
(what runtimes say, through grpc), a command to trace. The kernel's half is in capture/.
"""

# What 200,000 events a second make in a sixth of a second, in bytes: so long a reader may be kept from its CPU.
DEFAULT_BUFFER = 32 << 20
# Bytes of the data of a read or write, as sysdig has it, and as many as fit a parameter's length.
DEFAULT_SNAPLEN = 80
MAX_SNAPLEN = 65535
