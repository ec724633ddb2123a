"""Every bound on hostile input, with the attack that it stops above it."""

from __future__ import annotations

KIB = 1024
MIB = 1024 * KIB

# compressed input

# Compressed input that expands without end (a bomb). Real captures compress 3 to 30 times, the most repetitive 200;
# deflate's own maximum is 1,032. The first bytes are free, so that small files of zeros are not suspected.
MAX_EXPANSION = 1100
FREE_EXPANSION_BYTES = 64 * MIB

# Compressed input of millions of empty frames, each of which takes time and gives nothing. Compressing what cannot be
# compressed adds less than 1 % to it.
MAX_EMPTY_BYTES = MIB

# A zstd or lz4 frame whose header asks for a window of gigabytes.
MAX_WINDOW_BYTES = 128 * MIB

# scap

# A list block that claims gigabytes: the buffer grows only with bytes that really arrive, and not past this.
MAX_BLOCK_BYTES = 128 * MIB

# An event block that claims a huge event, to make the reader buffer it. The drivers' largest are 64 KiB, the plugins'
# 256 KiB.
MAX_EVENT_BYTES = MIB

# An event that claims millions of parameters. The format's own maximum is PPM_MAX_EVENT_PARAMS, 32.
MAX_EVENT_PARAMS = 32

# state

# A capture that invents thread after thread. The entries longest without an event go first.
MAX_THREADS = 131_072

# Threads with 64 KiB of arguments and as much environment each (the drivers record 4 KiB of each): all texts together.
MAX_THREAD_TEXT_BYTES = 128 * MIB

# Arguments or an environment of a megabyte in a large event. Elsewhere the format's lengths have 16 bits.
MAX_STRINGS_BYTES = 64 * KIB

# Damage in every block: only the first places are kept as text; all are counted.
MAX_DAMAGE_REPORTS = 100

# Enter events that are saved until their exit, one a thread. The largest real one holds two paths.
MAX_SAVED_EVENT_BYTES = 16 * KIB

# An interface list of millions, which every datagram without a source address walks through.
MAX_INTERFACES = 1024

# Names of users, groups, sockets and memfds of 64 KiB each, in tables of many. sun_path has 108 bytes, a memfd 249.
MAX_NAME_BYTES = 256

# Pods whose labels are megabytes, or thousands of two bytes, which take as much as longer ones. Kubernetes allows 316
# bytes a label.
MAX_LABELS_BYTES = 16 * KIB

# A list of cgroups of 64 KiB for every process: each KiB of it costs every such event 20 us of matching.
MAX_CGROUPS_BYTES = 16 * KIB

# Lists of cgroups that are all different, in the memory of those already matched.
MAX_KNOWN_CGROUPS_BYTES = 4 * MIB

# Exits without end in one second of capture time: exited processes are remembered for that long, but no more of them.
MAX_EXITED = 8192

# The same with 64 KiB of environment, arguments and path each.
MAX_EXITED_BYTES = 16 * MIB

# A process that opens fd after fd and never closes one; also fds of absurd number. Linux's default hard limit is lower.
MAX_FDS_PER_PROCESS = 65_536

# The same over all processes. A path counts as one more fd for each 256 bytes of it.
MAX_FDS = 1_048_576

# A chain of parents that is a cycle or never ends.
MAX_ANCESTORS = 1024

# A working directory that grows with every relative chdir. PATH_MAX is 4,096; names built from dirfds can be longer.
MAX_PATH_BYTES = 16 * KIB

# File and container entities that are remembered so as not to be written twice: past these, entries without
# open flows are forgotten and written again (REUP) when they return.
MAX_FILES = 65_536
MAX_FILE_BYTES = 32 * MIB
MAX_CONTAINERS = 1024

# Users and groups in lists and events without end: so many of each are known.
MAX_USERS = 65_536

# Flows on one fd of one process, by threads and files: a capture in which an fd is opened on ever other files and never
# closed makes each look-up walk all of them. Past this the oldest is exported and dropped.
MAX_FLOWS_PER_FD = 1024

# Flows that never close. The oldest is exported, as after 30 s, and dropped. A path counts as one more for each 256
# bytes of it.
MAX_FLOWS = 262_144

# Intervals of -G: a clock that goes back and forth begins an output file with every second event.
MAX_CLOCK_RETURNS = 100

# Intervals past what 64 bits of nanoseconds can be added to. Ten years.
MAX_ROTATE_SECONDS = 315_360_000

# live capture

# A host, or one network namespace after another, with millions of sockets: the tables of /proc/<pid>/net are kept while
# processes are scanned, up to so many rows in all.
MAX_LIVE_SOCKETS = 262_144

# Recorded trees of /proc and /etc whose files are disk images or never end. Most of the kernel's have less than a page;
# tables, as stat and passwd, may be long.
MAX_LIVE_FILE_BYTES = 64 * KIB
MAX_LIVE_TABLE_BYTES = 16 * MIB

# A table of sockets without line feeds. The longest real row is one of a unix socket: 60 characters and sun_path's 108.
MAX_LIVE_ROW_BYTES = KIB

# A mount table without end, which every mount that is not known has read: so much of it is, and device numbers by mount
# id are remembered for so many.
MAX_LIVE_MOUNTINFO_BYTES = 4 * MIB
MAX_LIVE_MOUNTS = 65_536

# Processes that hold the lock of their memory for ever, by the thousand, each of which keeps a thread waiting: past so
# many no process's arguments and environment are read any more.
MAX_LIVE_STUCK = 64

# Containers that start faster than the container runtime answers: so many questions wait, further ones are dropped.
MAX_LIVE_LOOKUPS = 1024

# A container runtime, or who sits on its socket, that answers without end.
MAX_LIVE_ANSWER_BYTES = MIB

# Containers with names or images of a megabyte, each of which stays in the capture.
MAX_LIVE_TEXT_CHARS = 4 * KIB

# Events that come while a host with very many processes is listed: so many bytes of them wait beside the ring.
MAX_LIVE_BACKLOG_BYTES = 64 * MIB

# Avro IDL

# A file, or files that import each other, without end. SysFlow's own IDL is 20 KiB in all.
MAX_IDL_BYTES = 512 * KIB
MAX_IDL_FILES = 1024

# array<array<array<..., [[[[..., records that contain records, imports of imports: to exhaust the stack of this
# program or of the readers that get the schema.
MAX_SCHEMA_DEPTH = 64

# SysFlow traces

# A header whose metadata claims gigabytes. The schema of version 6 is 6 KiB, with documentation 20 KiB.
MAX_TRACE_HEADER_BYTES = MIB

# A writer's schema of few bytes that unfolds without end: every type names the one before it twice. SysFlow's has 180.
MAX_SCHEMA_NODES = 10_000

# A block that claims gigabytes, or expands to them (a deflate bomb of 0.6 MB makes 1.2 GB). Collectors end a block at
# 80 kB.
MAX_TRACE_BLOCK_BYTES = 64 * MIB

# Sync markers without blocks between them, each of which looks like damage and starts a search.
MAX_DAMAGED_BLOCKS = 1000

# A record of millions of one-byte strings or tiny services: as Python objects they take a hundred times their bytes.
MAX_RECORD_BYTES = 2 * MIB

# A trace that names entity after entity: past these, those longest without use are forgotten while reading. Entities
# count for what they take in memory; half a million files fit, or 150,000 processes.
MAX_JOINED_FILE_BYTES = 384 * MIB
MAX_JOINED_PROCESS_BYTES = 192 * MIB
MAX_JOINED_CONTAINER_BYTES = 16 * MIB

# Traces to be sorted that have ever new entities, which stay in memory when the records have gone to a file.
MAX_SORT_ENTITY_BYTES = 384 * MIB

# --tail with a number of billions, or a trace whose every row has other entities of a megabyte. Half a million usual
# rows fit.
MAX_TAIL_BYTES = 256 * MIB

# A trace whose every row has another path of 64 KiB, or a pod with a megabyte of services: a batch of columns (Arrow,
# Parquet) ends when it has taken so much. Those of usual traces take some MiB.
MAX_BATCH_BYTES = 16 * MIB

# A trace with another bitmap of operations or flags in every record: what is kept for each of them (texts, values,
# results of checks) is dropped past so many. Real traces have some hundred.
MAX_KEPT_VALUES = 4096

# Traces by the thousand, each with another schema, sorted into each other: the programs that write their rows.
MAX_KEPT_PROGRAMS = 64

# --fields with thousands of fields, or one entity written by thousands of programs: texts kept with an entity.
MAX_ENTITY_TEXTS = 4096

# S3

# A bucket that is listed without end, or page after page of a store that invents keys.
MAX_S3_OBJECTS = 1_000_000

# A server whose headers never end, or its documents, or the bodies that are not of interest (a longer one costs the
# connection instead of the time to read it).
MAX_S3_HEAD_BYTES = 64 * KIB
MAX_S3_ANSWER_BYTES = 16 * MIB
MAX_S3_BODY_BYTES = 64 * KIB

# A secret file that is a device or a disk image. AWS's secret keys have 40 characters.
MAX_SECRET_CHARS = 4 * KIB

# sf-exporter

# A configuration file that is a device or a disk image. One with every option has some KiB.
MAX_CONFIG_BYTES = MIB

# Directories in directories without end: each is entered by its whole path.
MAX_EXPORT_DEPTH = 64

# Files made faster than their directory is scanned: of more than so many it is not known that they were closed, and
# they have to settle.
MAX_EXPORT_EVENTS = 100_000

# Files by the million that cannot be exported, each of which is told of once.
MAX_EXPORT_WARNINGS = 1000

# Names that lead to ever new directories below a local target: those made are remembered, and past so many looked at
# again.
MAX_EXPORT_DIRECTORIES = 1000

# filters

# A filter expression of megabytes, to spend minutes on compiling it. Falco's own rules, macros expanded, stay under
# 20 KiB.
MAX_FILTER_CHARS = 64 * KIB

# ((((... or not not not ...: to exhaust the stack when the closures are made or called. Falco's own limit is 100.
MAX_FILTER_DEPTH = 100

# fd.name pmatch (/*/a, /*/b, ...): patterns, which are tried one after the other for every event.
MAX_FILTER_LIST = 4096

# Macros of macros: m1 is m0 and m0, m2 is m1 and m1, ...: each line doubles what every record has to pass. The
# processor's largest rule, macros expanded, has 120 checks.
MAX_EXPANDED_CHECKS = 10_000

# A definition file of gigabytes, or /dev/zero. The processor's largest policy is 35 KiB.
MAX_DEFINITIONS_BYTES = MIB
